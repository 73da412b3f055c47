"""New shops as a part of a run: federations without one shop, then the measuring, then the page."""

from __future__ import annotations

from collections.abc import Sequence

from simulation.experiments.new_shops.comparison import build_new_shops
from simulation.experiments.new_shops.federations import list_federations, train_federations
from simulation.experiments.new_shops.measurement import measure_sizes
from simulation.experiments.new_shops.page import write_new_shops
from simulation.experiments.new_shops.schema import NewShopsReport
from simulation.reporting.terminal import Progress
from simulation.runs.preparation import Prepared
from simulation.runs.run_folder import RunFolder
from simulation.runs.variants import Variant, groups_of

STATE = "new-shops"
"""Folder of what a resumption needs, in the run's state."""


def run_new_shops(
    prepared: Prepared,
    variants: Sequence[Variant],
    *,
    folder: RunFolder,
    processes: int,
    workers: int,
    progress: Progress,
    held_out: Sequence[int] | None = None,
) -> NewShopsReport:
    """Trains a federation without each shop, measures that shop as a new one, and writes.

    Args:
        prepared: Data and settings with the sizes.
        variants: All runs and the control; those that differ in their seed alone are one group.
        folder: The run folder.
        processes: Federations that train at once.
        workers: Shops at once, over all processes.
        progress: Bars and clock.
        held_out: Numbers of the shops that are measured; None for all.

    Raises:
        FedprofileError: A federation failed; what ended is found again by a resumption.
    """
    state, groups = folder.state / STATE, groups_of(variants)
    numbers = range(prepared.n_shops) if held_out is None else held_out
    models = train_federations(
        prepared,
        list_federations(prepared, groups, state=state / "federations", held_out=numbers),
        processes=processes,
        workers=workers,
        progress=progress,
    )
    results = measure_sizes(
        prepared,
        models,
        held_out=numbers,
        workers=workers,
        folder=state / "evaluation",
        progress=progress,
    )
    with progress.phase("new shops page", label="Writing the page about new shops"):
        report = build_new_shops(prepared, results, groups, name=folder.path.name)
        write_new_shops(report, folder.path)
    return report
