"""A curve over the number of users: a sweep for each size, in folders beside each other."""

from __future__ import annotations

from pathlib import Path

from shared.errors import RunExistsError
from shared.runtime.environment import capture
from shared.settings.run_settings import RunSettings
from simulation.experiments.sweep.schema import SweepReport
from simulation.experiments.users_curve.page import write_users_curve
from simulation.experiments.users_curve.points import point_of
from simulation.experiments.users_curve.schema import CurvePoint, UsersCurve
from simulation.reporting.records import report_head
from simulation.reporting.terminal import Progress
from simulation.runs.variants import CurveSize, Sweep
from simulation.simulate import run_simulation


def run_users_curve(
    settings: RunSettings,
    sweep: Sweep,
    sizes: tuple[CurveSize, ...],
    *,
    workers: int,
    jobs: int,
    folder: Path,
    resume: bool,
    progress: Progress,
) -> UsersCurve:
    """Runs the same sweep on nested numbers of users and writes the curve.

    Args:
        settings: What all sizes share.
        sweep: Epsilons, kinds of noise and seeds.
        sizes: Users and shops of each point.
        workers: Shops at once.
        jobs: Runs that train at once.
        folder: Gets a folder a size, page and JSON.
        resume: Take up an interrupted curve: sizes that have ended are only read.
        progress: Bars and clock.

    Raises:
        FedprofileError: As `run_simulation` raises it.
    """
    if folder.exists() and any(folder.iterdir()) and not resume:
        raise RunExistsError(
            "exists and is not empty",
            name="out",
            value=folder,
            remedy="choose another folder, or continue an interrupted curve with --resume",
        )
    points: list[CurvePoint] = []
    for size in sizes:
        place = folder / size.name
        report = _sweep_of(place) if resume else None
        if report is None:
            finished = run_simulation(
                size.settings(settings),
                sweep,
                workers=workers,
                jobs=jobs,
                folder=place,
                resume=resume and place.exists(),
                progress=progress,
                compared=True,
            )
            report = finished.sweep
        if report is not None:
            points.append(point_of(report, users=size.users, folder=size.name))
    curve = UsersCurve(
        **report_head(
            name=folder.name, settings=settings, environment=capture(device=settings.device)
        ),
        primary=settings.evaluation.primary,
        points=tuple(sorted(points, key=lambda point: (point.shops, point.users))),
    )
    write_users_curve(curve, folder)
    return curve


def _sweep_of(folder: Path) -> SweepReport | None:
    """Reads the sweep of a size that has ended; None where it has not."""
    path = folder / "sweep.json"
    if not path.exists():
        return None
    return SweepReport.model_validate_json(path.read_text(encoding="utf-8"))
