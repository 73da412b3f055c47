"""Federations that one shop takes no part in: for each kind of run and each shop, one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from server.federation import RoundInfo
from simulation.evaluation.shop import GlobalModel
from simulation.preparation import Prepared
from simulation.report.progress import Progress
from simulation.sweep.compare import Group
from simulation.sweep.jobs import TrainingJob, train_in_processes
from simulation.sweep.variants import Variant
from simulation.training import global_model


@dataclass(frozen=True)
class Fold:
    """One federation of all shops but one.

    Attributes:
        model: Name of its model in the evaluation, the same for all shops of a group.
        held_out: Number of the shop that takes no part.
        job: What to train.
    """

    model: str
    held_out: int
    job: TrainingJob


def model_name(group: Group) -> str:
    """Names a group's models in the evaluation and their folder in the state."""
    budget = "none" if group.epsilon is None else f"{group.epsilon:g}"
    return f"epsilon-{budget}" + (f"-{group.noise}" if group.noise else "")


def list_folds(prepared: Prepared, groups: Sequence[Group], *, state: Path) -> list[Fold]:
    """Lists a federation for each group and shop; shop i is left out under seed + i.

    Args:
        prepared: Data and settings; its seed is the first of every group.
        groups: Kinds of runs.
        state: Folder for checkpoints and ledgers.
    """
    base, found = prepared.settings, []
    for group in groups:
        name = model_name(group)
        for number in range(prepared.n_shops):
            variant = Variant(group.epsilon, group.noise, base.seed + number, name)
            folder = state / name / f"{number:06d}"
            job = TrainingJob(
                f"{name}-without-{number}",
                variant.settings(base),
                checkpoints=folder / "checkpoints",
                ledgers=folder / "ledgers",
                held_out=number,
            )
            found.append(Fold(name, number, job))
    return found


def train_folds(
    prepared: Prepared,
    folds: Sequence[Fold],
    *,
    processes: int,
    workers: int,
    progress: Progress,
) -> list[dict[str, GlobalModel]]:
    """Trains every federation, from its newest checkpoint where there is one.

    Args:
        prepared: Data and model of all shops.
        folds: From `list_folds`.
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
