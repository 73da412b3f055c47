"""The result of a run on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from simulation.report.schema import Methods, Report
from simulation.report.tables import METRIC_NAMES, RANKED, duration, result_table
from simulation.report.wording import (
    METHOD_NAMES,
    SURFACE_NAMES,
    SURFACE_NOTES,
    headline,
    verdict,
)

_COLOURS = {"better": "green", "no-better": "yellow", "worse": "red"}
_STYLES = {"own": "bold green", "reference": "dim", "": ""}


def print_report(report: Report | Mapping[str, Any], *, folder: Path, console: Console) -> None:
    """Prints tables, findings, guarantee, time and where the files are.

    Args:
        report: A report, or the object that `report.json` holds.
        folder: The run folder that `files` are relative to.
        console: Where to print.
    """
    checked = Report.model_validate(report)
    for surface in checked.metrics.surfaces:
        _print_surface(checked, surface, console)
    for surface, record in checked.surfaces.items():
        if not record.available:
            name = SURFACE_NAMES.get(surface, surface)
            console.print(f"{escape(name)}: not measured ({escape(record.reason or '')})\n")
    words = headline(checked)
    console.print(f"[bold]{escape(words.title)}.[/]")
    for surface, sentence in words.surfaces.items():
        colour = _COLOURS[verdict(checked.comparison[surface].difference)]
        console.print(f"  [{colour}]{SURFACE_NAMES[surface]}[/]: {escape(sentence)}.")
    console.print(f"\n[bold]Privacy[/]  {escape(words.privacy)}", highlight=False)
    if any(shop.epsilon is not None for shop in checked.privacy.values()):
        console.print("         A run that a seed repeats is no release: see the report.")
    phases = ", ".join(f"{name} {duration(s)}" for name, s in checked.seconds.items())
    total, memory = duration(sum(checked.seconds.values())), checked.peak_rss_mb / 1000
    console.print(f"[bold]Time[/]     {total} ({escape(phases)}); {memory:.1f} GB memory at most")
    console.print(f"[bold]Files[/]    {escape(str(folder))}", soft_wrap=True)
    for what, path in checked.files.items():
        console.print(f"         {escape(what)}: {escape(path)}", soft_wrap=True)


def _print_surface(report: Report, surface: str, console: Console) -> None:
    record = report.surfaces.get(surface)
    users = f", {record.users:,} users" if record else ""
    note = f"{SURFACE_NOTES[surface]}{users}"
    console.print(f"[bold]{SURFACE_NAMES[surface]}[/]  [dim]{note}[/]", highlight=False)
    console.print(_table(report.metrics.surfaces[surface]), "")


def _table(methods: Methods) -> Table:
    content = result_table(methods, metrics=RANKED)
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("method", no_wrap=True)
    for metric in content.metrics:
        table.add_column(METRIC_NAMES[metric], justify="right", no_wrap=True)
        if metric == "ndcg@10":
            table.add_column("95% interval", justify="right", style="dim", no_wrap=True)
    for row in content.rows:
        cells = [escape(METHOD_NAMES.get(row.method, row.method))]
        for metric, cell in zip(content.metrics, row.cells, strict=True):
            cells.append(f"[bold]{cell.mean}[/]" if cell.best else cell.mean)
            if metric == "ndcg@10":
                cells.append(cell.interval)
        table.add_row(*cells, style=_STYLES[row.kind])
    return table
