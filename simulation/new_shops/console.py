"""What joining gives to new shops, on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from simulation.new_shops.advice import kind_name
from simulation.new_shops.page import ITEMS_APART
from simulation.new_shops.schema import NewShopsReport
from simulation.new_shops.tables import Row, left_out_notes, surface_rows, surfaces_of
from simulation.new_shops.write import JSON, PAGE
from simulation.sweep.recommendation import ASSUMES, surface_name

_COLOURS = {"better": "green", "no-better": "", "worse": "red"}


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
        console.print(_table(surface_rows(report, surface)), "")
    for line in left_out_notes(report):
        console.print(f"[dim]{escape(line)}.[/]", highlight=False)
    console.print(f"[bold]{escape(report.title)}.[/]")
    for advice in report.advice:
        name = kind_name((advice.epsilon, advice.noise)).capitalize()
        words = " ".join(advice.sentences)
        console.print(f"  [bold]{escape(name)}[/]: {escape(words)}", highlight=False)
    if not report.shops_share_items:
        console.print(f"  {escape(ITEMS_APART)}", highlight=False)
    if any(group.noise == "shared" for group in report.groups):
        console.print(f"  [dim]{escape(ASSUMES)}[/]", highlight=False)
    for what, path in (("page", PAGE), ("figures", JSON)):
        where = escape(str(folder / path))
        console.print(f"[bold]{what.capitalize():<8}[/] {where}", soft_wrap=True)


def _table(rows: tuple[Row, ...]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    columns = ("users", "eps", "noise", "text", "local", "global", "pairs", "fused")
    for column in (*columns, "over local", "adj. p"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            *(f"{row.size}", row.epsilon, row.noise, row.text, row.local),
            *(row.alone, row.pairs, row.fused),
            *(row.joined.percent or row.joined.difference, row.joined.p),
            style=_COLOURS[row.joined.verdict],
        )
    return table
