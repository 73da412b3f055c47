"""A whole simulation: prepare once, train every epsilon and seed, evaluate together, report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from server.federation import RoundInfo
from server.planning import mechanisms_of
from shared.config import RunSettings
from shared.errors import RunError
from simulation.build_report import build_report
from simulation.evaluation.evaluate import EvaluationResult, evaluate
from simulation.evaluation.shop import GlobalModel
from simulation.peak_memory import PeakMemory
from simulation.preparation import Prepared, prepare
from simulation.report.html import write_sweep_html
from simulation.report.progress import Progress
from simulation.report.schema import Report
from simulation.report.write import write_file
from simulation.run_folder import RunFolder, open_run_folder
from simulation.training import Trained, global_model, train_global
from simulation.write_run import LEDGERS, write_run

CONTROL = "control"
"""Name of the model that is trained without privacy, for the row `fused-non-private`."""


@dataclass(frozen=True)
class Variant:
    """One epsilon and seed of a sweep."""

    epsilon: float | None
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        budget = "none" if self.epsilon is None else f"{self.epsilon:g}"
        return f"epsilon-{budget}-seed-{self.seed}"

    def settings(self, base: RunSettings) -> RunSettings:
        """Returns the settings of this variant."""
        privacy = base.privacy.model_copy(update={"epsilon": self.epsilon})
        return base.model_copy(update={"privacy": privacy, "seed": self.seed})


def run_simulation(
    settings: RunSettings,
    *,
    epsilons: Sequence[float | None],
    seeds: int,
    workers: int,
    folder: Path,
    resume: bool,
    progress: Progress,
) -> list[Report]:
    """Runs one simulation or a sweep and writes its folder.

    Args:
        settings: What all variants share; its `seed` is the first.
        epsilons: One or several; None is no privacy.
        seeds: Seeds of each epsilon.
        workers: Shops at once.
        folder: The run folder, new unless `resume`.
        resume: Take up an interrupted run.
        progress: Bars and clock.

    Returns:
        One report a variant, in the order of epsilons, then seeds.

    Raises:
        FedprofileError: A mistake in the settings or the data, or a run that failed.
    """
    variants = [Variant(e, settings.seed + i) for e in epsilons for i in range(seeds)]
    identity = {
        "settings": settings.model_dump(mode="json"),
        "epsilons": list(epsilons),
        "seeds": seeds,
    }
    run = open_run_folder(folder, identity, resume=resume)
    with PeakMemory() as memory:
        with run.emptied_on_refusal():
            for variant in variants:
                mechanisms_of(variant.settings(settings))
            prepared = prepare(settings, folder=run.state / "data", progress=progress)
        trained = _train_all(prepared, variants, run, workers=workers, progress=progress)
        result = _evaluate(prepared, trained, workers=workers, progress=progress)
    reports = []
    for variant in variants:
        with progress.phase("report", label="Writing the report"):
            report = build_report(
                prepared,
                trained[variant.name],
                trained.get(CONTROL),
                result,
                name=folder.name if len(variants) == 1 else f"{folder.name}/{variant.name}",
                labels=(variant.name, CONTROL),
                seconds=progress.seconds,
                peak_rss_mb=memory.peak_mb,
            )
        path = run.of(variant.name, single=len(variants) == 1)
        labels = (variant.name, CONTROL)
        model = trained[variant.name]
        reports.append(write_run(path, report, prepared, model, result, labels=labels))
    if len(variants) > 1:
        write_sweep_html(reports, folder / "sweep.html")
        write_file(folder / "sweep.json", sweep_json(reports).encode())
    run.finish()
    return reports


def sweep_json(reports: Sequence[Report]) -> str:
    """Returns one JSON object with all reports of a sweep under `runs`."""
    return json.dumps({"runs": [report.model_dump(mode="json") for report in reports]}) + "\n"


def _train_all(
    prepared: Prepared,
    variants: Sequence[Variant],
    run: RunFolder,
    *,
    workers: int,
    progress: Progress,
) -> dict[str, Trained]:
    """Trains every variant and, where one is private, the control."""
    base = prepared.settings
    jobs = {variant.name: variant.settings(base) for variant in variants}
    if base.evaluation.controls and any(v.epsilon is not None for v in variants):
        jobs[CONTROL] = Variant(None, base.seed).settings(base)
    trained = {}
    for name, settings in jobs.items():
        phase_name = "control" if name == CONTROL else "train"
        label = "Training without privacy" if settings.privacy.epsilon is None else "Training"
        label += f" ({name})" if len(variants) > 1 and name != CONTROL else ""
        rounds = settings.training.rounds if settings.privacy.adapter_share > 0 else None
        with progress.phase(phase_name, label=label, total=rounds) as phase:

            def moved(info: RoundInfo) -> None:
                phase.update(info.round)  # called within this phase only

            trained[name] = train_global(
                prepared,
                settings,
                checkpoints=run.state / name,
                ledgers=run.of(name, single=len(variants) == 1) / LEDGERS,
                workers=workers,
                on_round=moved,
            )
    return trained


def _evaluate(
    prepared: Prepared, trained: dict[str, Trained], *, workers: int, progress: Progress
) -> EvaluationResult:
    models: dict[str, GlobalModel] = {n: global_model(prepared, t) for n, t in trained.items()}
    settings = prepared.settings
    with progress.phase("evaluate", label="Evaluating", total=prepared.n_shops) as phase:
        result = evaluate(
            prepared.dataset,
            prepared.windows,
            prepared.item_vectors,
            models,
            bootstrap=settings.evaluation.bootstrap,
            seed=settings.seed,
            workers=workers,
            progress=phase.update,
        )
    if not any(shop.rankings for shop in result.shops):
        raise RunError(
            "test window: no user of any shop has anything to predict in it; move it with "
            "--test-start and --test-end, or use --split leave-last-out"
        )
    return result
