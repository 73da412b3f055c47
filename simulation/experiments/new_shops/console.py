"""What joining gives to new shops, on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from simulation.experiments.new_shops.page import ITEMS_APART, STEM
from simulation.experiments.new_shops.schema import NewShopsReport
from simulation.experiments.new_shops.tables import (
    NewShopRow,
    left_out_notes,
    surface_rows,
    surfaces_of,
)
from simulation.reporting.records import ASSUMES, kind_name, surface_name
from simulation.reporting.terminal import VERDICT_COLOURS, Row, plain_table, print_paths

COLUMNS = (
    *("users", "eps", "noise", "text", "local", "global", "pairs", "fused"),
    *("over local", "adj. p"),
)


def print_new_shops(report: NewShopsReport, *, folder: Path, console: Console) -> None:
    """Prints a table a surface, the recommendation and where the files are.

    Args:
        report: What was measured.
        folder: The run folder.
        console: Where to print.
    """
    console.print("\n[bold]New shops[/]  [dim]each shop held out of the federation in turn[/]\n")
    for surface in surfaces_of(report):
        console.print(f"[bold]{escape(surface_name(surface))}[/]")
        console.print(plain_table(COLUMNS, map(_row, surface_rows(report, surface))), "")
    for line in left_out_notes(report):
        console.print(f"[dim]{escape(line)}.[/]", highlight=False)
    console.print(f"[bold]{escape(report.title)}.[/]")
    for advice in report.advice:
        name = kind_name(advice.epsilon, advice.noise).capitalize()
        words = " ".join(advice.sentences)
        console.print(f"  [bold]{escape(name)}[/]: {escape(words)}", highlight=False)
    if not report.shops_share_items:
        console.print(f"  {escape(ITEMS_APART)}", highlight=False)
    if any(group.noise == "shared" for group in report.groups):
        console.print(f"  [dim]{escape(ASSUMES)}[/]", highlight=False)
    print_paths(console, folder, STEM)


def print_new_shops_verdict(report: NewShopsReport, *, folder: Path, console: Console) -> None:
    """Prints what joining gives to a new shop in a few lines, after the verdict on full shops.

    Args:
        report: What was measured.
        folder: The run folder.
        console: Where to print.
    """
    shops = {shop: None for size in report.sizes.values() for shop in size.shops}
    held_out = f"{len(shops)} shops held out in turn: {', '.join(shops)}"
    console.print(f"\n[bold]{escape(report.title)}.[/]  [dim]{escape(held_out)}[/]")
    for advice in report.advice:
        console.print(f"  {escape(' '.join(advice.sentences))}", highlight=False)
    print_paths(console, folder, STEM)


def _row(row: NewShopRow) -> Row:
    gain = row.joined
    cells = (f"{row.size}", row.epsilon, row.noise, row.text, row.local, row.alone, row.pairs)
    return (
        (*cells, row.fused, gain.percent or gain.mean, gain.p),
        VERDICT_COLOURS[gain.verdict or "no-better"],
    )
