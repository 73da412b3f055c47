"""Federations that one shop takes no part in: for each kind of run and each shop, one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from server.federation.federated_run import RoundInfo
from simulation.evaluation.shop import GlobalModel
from simulation.reporting.terminal import Progress
from simulation.runs.preparation import Prepared
from simulation.runs.training import global_model
from simulation.runs.training_jobs import TrainingJob, train_in_processes
from simulation.runs.variants import SeedGroup, Variant


@dataclass(frozen=True)
class HeldOutFederation:
    """One federation of all shops but one.

    Attributes:
        model: Name of its model in the evaluation, the same for all shops of a group.
        held_out: Number of the shop that takes no part.
        job: What to train.
    """

    model: str
    held_out: int
    job: TrainingJob


def model_name(group: SeedGroup) -> str:
    """Names a group's models in the evaluation and their folder in the state."""
    budget = "none" if group.epsilon is None else f"{group.epsilon:g}"
    return f"epsilon-{budget}" + (f"-{group.noise}" if group.noise else "")


def list_federations(
    prepared: Prepared,
    groups: Sequence[SeedGroup],
    *,
    state: Path,
    held_out: Sequence[int] | None = None,
) -> list[HeldOutFederation]:
    """Lists a federation for each group and shop; shop i is left out under seed + i.

    Args:
        prepared: Data and settings; its seed is the first of every group.
        groups: Kinds of runs.
        state: Folder for checkpoints and ledgers.
        held_out: Numbers of the shops that are left out; None for all.
    """
    federations: list[HeldOutFederation] = []
    # The protocol gives the numbers of the sum alone, and these are many runs.
    ideal = prepared.settings.privacy.model_copy(update={"secure_aggregation": "ideal"})
    base = prepared.settings.model_copy(update={"privacy": ideal})
    for group in groups:
        name = model_name(group)
        for number in range(prepared.n_shops) if held_out is None else held_out:
            variant = Variant(group.epsilon, group.noise, base.seed + number, name)
            folder = state / name / f"{number:06d}"
            job = TrainingJob(
                f"{name}-without-{number}",
                variant.settings(base),
                checkpoints=folder / "checkpoints",
                ledgers=folder / "ledgers",
                held_out=number,
            )
            federations.append(HeldOutFederation(name, number, job))
    return federations


def train_federations(
    prepared: Prepared,
    folds: Sequence[HeldOutFederation],
    *,
    processes: int,
    workers: int,
    progress: Progress,
) -> list[dict[str, GlobalModel]]:
    """Trains every federation, from its newest checkpoint where there is one.

    Args:
        prepared: Data and model of all shops.
        folds: From `list_federations`.
        processes: Federations that train at once; changes no result.
        workers: Shops at once, over all processes.
        progress: Bars and clock.

    Returns:
        For each shop the models that it took no part in, by name.

    Raises:
        FedprofileError: One failed; those that ended are found again by a resumption.
    """
    processes = min(processes, len(folds))
    label = f"Training {len(folds)} federations that one shop is left out of"
    total = sum(fold.job.settings.training.rounds for fold in folds)
    models: list[dict[str, GlobalModel]] = [{} for _ in range(prepared.n_shops)]
    with progress.phase("new shops", label=label, total=total) as phase:

        def moved(info: RoundInfo) -> None:
            phase.advance(1 if info.round else 0)

        if processes > 1:
            jobs = [fold.job for fold in folds]
            train_in_processes(prepared, jobs, processes=processes, workers=workers, on_round=moved)
        for fold in folds:
            trained = fold.job.run(prepared, workers=workers, on_round=moved)
            rest = prepared.without(fold.held_out)
            models[fold.held_out][fold.model] = global_model(rest, trained)
    return models
