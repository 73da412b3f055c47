"""A whole simulation: prepare once, train every variant, evaluate together, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from server.federation.public_plan import check_shared, mechanisms_of
from shared.errors import ConfigError, RunError
from shared.settings.run_settings import RunSettings
from simulation.evaluation.evaluate import (
    EvaluationResult,
    evaluate,
    read_evaluation,
    write_evaluation,
)
from simulation.evaluation.shop import GlobalModel
from simulation.experiments.new_shops.experiment import run_new_shops
from simulation.experiments.new_shops.schema import NewShopsReport
from simulation.experiments.single.build import build_report
from simulation.experiments.single.output import LEDGERS, REPORT, write_run
from simulation.experiments.single.schema import Report
from simulation.experiments.sweep.comparison import build_sweep
from simulation.experiments.sweep.page import write_sweep
from simulation.experiments.sweep.schema import SweepReport
from simulation.reporting.terminal import PeakMemory, Progress
from simulation.runs.preparation import Prepared, prepare, with_secure_sums
from simulation.runs.run_folder import RunFolder, open_run_folder
from simulation.runs.training import Trained, global_model
from simulation.runs.training_jobs import TrainingJob, train_variants
from simulation.runs.variants import (
    CONTROL,
    Sweep,
    Variant,
    check_new_shops,
    control_of,
    newcomers,
)

EVALUATION = "evaluation"
"""Folder of a sweep's finished evaluation in its state."""


@dataclass(frozen=True, eq=False)
class SimulationResult:
    """What a simulation ends with.

    Attributes:
        reports: One a variant, in order of epsilon, noise and seed.
        sweep: What several variants say together; None where there was one.
        new_shops: What joining would give to new shops; None where nobody asked.
    """

    reports: tuple[Report, ...]
    sweep: SweepReport | None
    new_shops: NewShopsReport | None = None


def run_simulation(
    settings: RunSettings,
    sweep: Sweep,
    *,
    workers: int,
    jobs: int = 1,
    folder: Path,
    resume: bool,
    progress: Progress,
    compared: bool = False,
) -> SimulationResult:
    """Runs one simulation or a sweep and writes its folder.

    Args:
        settings: What all variants share; its `seed` is the first.
        sweep: Epsilons, kinds of noise and seeds.
        workers: Shops at once, over all jobs.
        jobs: Variants that train at once, each in a process of its own; changes no result.
        folder: The run folder, new unless `resume`.
        resume: Take up an interrupted run.
        progress: Bars and clock.
        compared: Write a sweep also of one variant.

    Raises:
        FedprofileError: A mistake in the settings or the data, or a run that failed.
    """
    if jobs > 1 and settings.engine == "ray":
        raise ConfigError(
            "must be 1 with engine=ray, which has its own processes",
            name="jobs",
            value=jobs,
            remedy="leave --jobs out",
        )
    variants = sweep.variants(settings)
    several = compared or len(variants) > 1
    opened = open_run_folder(folder, sweep.identity(settings), resume=resume)
    with PeakMemory() as memory:
        with opened.emptied_on_refusal():
            for variant in variants:
                mechanisms_of(variant.settings(settings))
            prepared = prepare(
                settings, folder=opened.state / "data", progress=progress, workers=workers
            )
            check_new_shops(settings, prepared.dataset)
            variants = sweep.resolved(prepared.settings).variants(settings)
            prepared = with_secure_sums(prepared, single=not several)
            for variant in variants:
                check_shared(variant.settings(prepared.settings), prepared.smallest_federation)
        run = _Simulation(prepared, variants, opened, progress, single=not several)
        trained = run.train(processes=jobs, workers=workers)
        result = run.evaluation(trained, workers=workers)
    reports = run.reports(trained, result, peak_rss_mb=memory.peak_mb)
    sweep_report = None
    if several:
        with progress.phase("report", label="Writing the page of the sweep"):
            named = list(zip(variants, reports, strict=True))
            sweep_report = build_sweep(named, result, settings=prepared.settings, name=folder.name)
            write_sweep(sweep_report, folder)
    new_shops = run.new_shops(processes=jobs, workers=workers)
    opened.finish()
    return SimulationResult(reports, sweep_report, new_shops)


class _Simulation:
    """One simulation after its preparation."""

    def __init__(
        self,
        prepared: Prepared,
        variants: Sequence[Variant],
        folder: RunFolder,
        progress: Progress,
        *,
        single: bool,
    ) -> None:
        self._prepared = prepared
        self._variants = variants
        self._folder = folder
        self._progress = progress
        self._single = single
        self._newcomers = newcomers(prepared.settings, prepared.dataset, variants) if single else []
        control = control_of(variants, prepared.settings)
        self._control = CONTROL if control is None else control.name
        self._models = dict.fromkeys((*variants, control) if control else variants)

    def train(self, *, processes: int, workers: int) -> dict[str, Trained]:
        """Trains every variant and, where one is private, the control."""
        settings = self._prepared.settings.evaluation
        jobs = {
            variant.name: TrainingJob(
                variant.name,
                variant.settings(self._prepared.settings),
                checkpoints=self._folder.state / variant.name,
                ledgers=self._path(variant) / LEDGERS,
                releases=self._path(variant) if settings.save_releases else None,
            )
            for variant in self._models
        }
        return train_variants(
            self._prepared,
            jobs,
            control=self._control,
            processes=processes,
            workers=workers,
            progress=self._progress,
        )

    def evaluation(self, trained: Mapping[str, Trained], *, workers: int) -> EvaluationResult:
        """Evaluates all models together, or takes up an evaluation that had ended."""
        folder = self._folder.state / EVALUATION
        result = read_evaluation(folder)
        if result is None:
            result = self._evaluate(trained, workers=workers)
            new_shops = self._prepared.settings.evaluation.new_shops or self._newcomers
            if not self._single or new_shops:
                write_evaluation(folder, result)
        return result

    def reports(
        self, trained: Mapping[str, Trained], result: EvaluationResult, *, peak_rss_mb: float
    ) -> tuple[Report, ...]:
        """Writes each variant's folder, or reads the report of one that was written before."""
        return tuple(
            self._report(variant, trained, result, peak_rss_mb) for variant in self._variants
        )

    def new_shops(self, *, processes: int, workers: int) -> NewShopsReport | None:
        """Holds shops out in turn: all where settings ask for it, else a few of a single run."""
        if self._newcomers:
            return run_new_shops(
                _asked_without_users(self._prepared),
                self._variants,
                folder=self._folder,
                processes=processes,
                workers=workers,
                progress=self._progress,
                held_out=self._newcomers,
            )
        if not self._prepared.settings.evaluation.new_shops:
            return None
        return run_new_shops(
            self._prepared,
            tuple(self._models),
            folder=self._folder,
            processes=processes,
            workers=workers,
            progress=self._progress,
        )

    def _evaluate(self, trained: Mapping[str, Trained], *, workers: int) -> EvaluationResult:
        prepared, settings = self._prepared, self._prepared.settings
        models: dict[str, GlobalModel] = {n: global_model(prepared, t) for n, t in trained.items()}
        total = prepared.n_shops
        with self._progress.phase("evaluate", label="Evaluating", total=total) as phase:
            result = evaluate(
                prepared.dataset,
                prepared.windows,
                prepared.item_vectors,
                models,
                bootstrap=settings.evaluation.bootstrap,
                seed=settings.seed,
                workers=workers,
                target_types=settings.evaluation.target_types,
                progress=phase.update,
            )
        if not any(shop.rankings for shop in result.shops):
            raise RunError(
                "no user of any shop has anything to predict in the test window",
                remedy="move it with --test-start and --test-end, or use --split leave-last-out",
            )
        return result

    def _report(
        self,
        variant: Variant,
        trained: Mapping[str, Trained],
        result: EvaluationResult,
        peak_rss_mb: float,
    ) -> Report:
        path, labels = self._path(variant), (variant.name, self._control)
        if (path / REPORT).exists():
            return Report.model_validate_json((path / REPORT).read_text(encoding="utf-8"))
        root, model = self._folder.path.name, trained[variant.name]
        with self._progress.phase("report", label="Writing the report"):
            report = build_report(
                self._prepared,
                model,
                trained.get(self._control),
                result,
                name=root if self._single else f"{root}/{variant.name}",
                labels=labels,
                seconds=self._progress.seconds,
                peak_rss_mb=peak_rss_mb,
            )
            return write_run(path, report, self._prepared, model, result, labels=labels)

    def _path(self, variant: Variant) -> Path:
        return self._folder.of(variant.name, single=self._single)


def _asked_without_users(prepared: Prepared) -> Prepared:
    """Returns the same with new shops of no users of their own."""
    evaluation = prepared.settings.evaluation.model_copy(update={"new_shops": (0,)})
    settings = prepared.settings.model_copy(update={"evaluation": evaluation})
    return replace(prepared, settings=settings)
