"""The result of a sweep on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from simulation.experiments.sweep.page import STEM
from simulation.experiments.sweep.schema import SurfaceSweep, SweepReport
from simulation.experiments.sweep.tables import (
    ComparisonRow,
    cost_rows,
    lost_rows,
    method_note,
    surface_rows,
)
from simulation.reporting.records import duration, number, surface_name
from simulation.reporting.terminal import VERDICT_COLOURS, Row, left, plain_table, print_paths


def print_sweep(sweep: SweepReport, *, folder: Path, console: Console) -> None:
    """Prints privacy against quality, the recommendation, what it cost and where the files are.

    Args:
        sweep: The finished sweep.
        folder: Its folder.
        console: Where to print.
    """
    for name, surface in sweep.surfaces.items():
        _print_surface(name, surface, console)
    legend = "recov.: share of the headroom recovered; shops: helped/hurt/undecided"
    console.print(f"[dim]{legend}[/]\n", highlight=False)
    _print_costs(sweep, console)
    console.print(f"[bold]{escape(sweep.title)}.[/]")
    for recommendation in sweep.recommendations:
        console.print(f"  {escape(' '.join(recommendation.sentences))}", highlight=False)
        console.print(f"  [dim]{escape(recommendation.trust)}[/]", highlight=False)
    for row in lost_rows(sweep):
        console.print(f"  [red]Lost[/] {escape(row[0])}: {escape(row[1])}", highlight=False)
    console.print(f"[dim]{escape(method_note(sweep))}[/]", highlight=False)
    print_paths(console, folder, STEM)


def _print_surface(name: str, surface: SurfaceSweep, console: Console) -> None:
    levels = f"best local {number(surface.best_local.mean)}"
    if surface.pooled is not None:
        levels += f", all data pooled {number(surface.pooled.mean)}"
    title = f"[bold]{escape(surface_name(name))}[/]  [dim]{surface.users:,} users, {levels}[/]"
    console.print(title, highlight=False)
    columns = (left("noise"), "eps", "NDCG@10", "gain", "95% interval", "adj. p", "recov.", "shops")
    console.print(plain_table(columns, map(_row, surface_rows(surface))))
    if surface.lacks_headroom:
        console.print("[dim]no headroom to recover on this surface[/]")
    console.print()


def _row(row: ComparisonRow) -> Row:
    gain = row.gain
    shops = row.shops.replace(" ", "")
    cells = (row.noise, row.epsilon, row.fused, gain.mean, gain.interval, gain.p)
    return (*cells, row.recovered.mean, shops), VERDICT_COLOURS[gain.verdict or "no-better"]


def _print_costs(sweep: SweepReport, console: Console) -> None:
    rows = [((row.name, duration(row.seconds), row.up, row.down), "") for row in cost_rows(sweep)]
    columns = (left("run"), "training", "MB up a shop", "MB down a shop")
    console.print(plain_table(columns, rows), "")
