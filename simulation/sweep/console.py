"""The result of a sweep on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from simulation.report.tables import duration
from simulation.report.wording import number
from simulation.sweep.recommendation import surface_name
from simulation.sweep.schema import SurfaceSweep, SweepReport
from simulation.sweep.tables import Row, cost_rows, lost_rows, method_note, surface_rows
from simulation.sweep.write import JSON, PAGE

_COLOURS = {"better": "green", "no-better": "", "worse": "red"}


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
    for found in sweep.recommendations:
        console.print(f"  {escape(' '.join(found.sentences))}", highlight=False)
        console.print(f"  [dim]{escape(found.trust)}[/]", highlight=False)
    lost = lost_rows(sweep)
    for row in lost:
        console.print(f"  [red]Lost[/] {escape(row[0])}: {escape(row[1])}", highlight=False)
    console.print(f"[dim]{escape(method_note(sweep))}[/]", highlight=False)
    for what, path in (("page", PAGE), ("figures", JSON)):
        where = escape(str(folder / path))
        console.print(f"[bold]{what.capitalize():<8}[/] {where}", soft_wrap=True)


def _print_surface(name: str, surface: SurfaceSweep, console: Console) -> None:
    levels = f"best local {number(surface.best_local.mean)}"
    if surface.pooled is not None:
        levels += f", all data pooled {number(surface.pooled.mean)}"
    title = f"[bold]{escape(surface_name(name))}[/]  [dim]{surface.users:,} users, {levels}[/]"
    console.print(title, highlight=False)
    table = Table(box=None, header_style="dim", pad_edge=False)
    for i, column in enumerate(("noise", "eps", "NDCG@10", "gain", "95% interval")):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    for column in ("adj. p", "recov.", "shops"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in surface_rows(surface):
        table.add_row(*_cells(row), style=_COLOURS[row.verdict])
    console.print(table)
    if surface.lacks_headroom:
        console.print("[dim]no headroom to recover on this surface[/]")
    console.print()


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.noise, row.epsilon, row.fused, row.gain, row.gain_interval, row.p,
        row.recovered, row.shops.replace(" ", ""),
    )  # fmt: skip


def _print_costs(sweep: SweepReport, console: Console) -> None:
    rows = cost_rows(sweep)
    table = Table(box=None, header_style="dim", pad_edge=False)
    for i, column in enumerate(("run", "training", "MB up a shop", "MB down a shop")):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    for row in rows:
        table.add_row(row.name, duration(row.seconds), row.up, row.down)
    console.print(table, "")
