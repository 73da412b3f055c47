"""The tables of a report as plain rows of text, for the page and for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from simulation.experiments.single.findings import headline, shared_by
from simulation.experiments.single.schema import (
    METHODS,
    NON_PRIVATE,
    Methods,
    Report,
    Round,
    ShopPrivacy,
)
from simulation.reporting.records import (
    METHOD_NAMES,
    METRIC_NAMES,
    SURFACE_NAMES,
    SURFACE_NOTES,
    Interval,
    duration,
    number,
    signed,
    small,
)
from simulation.reporting.tables import Cell
from simulation.reporting.terminal import VERDICT_COLOURS, Row, left, plain_table

RANKED = ("ndcg@10", "hr@10", "recall@20")
"""Metrics where more is better: their best is marked and their intervals are shown."""
ROUND_ZERO = {"train": "0", "counts": "0 (item counts)", "pairs": "0 (co-purchase pairs)"}
"""Kind of a request of round 0 -> how tables name it."""
TextTable = dict[str, dict[str, str]]
"""Row -> column -> text."""


@dataclass(frozen=True)
class MethodRow:
    """One method; `kind` is `own` for fused, `reference` for what no shop can have, or ``."""

    method: str
    kind: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class ResultTable:
    """Methods by metrics of one surface."""

    metrics: tuple[str, ...]
    rows: tuple[MethodRow, ...]


def result_table(methods: Methods, *, metrics: Sequence[str] = tuple(METRIC_NAMES)) -> ResultTable:
    """Lays out one surface; the best of all methods but the references is marked.

    Nothing is marked for coverage, diversity and novelty, where more is not simply better.
    """
    shown = [m for m in metrics if any(m in values for values in methods.values())]
    order = [m for m in METHODS if m in methods] + [m for m in methods if m not in METHODS]
    best = {m: _best(methods, m) for m in shown}
    rows = (
        MethodRow(
            method=method,
            kind="own" if method == "fused" else "reference" if method in NON_PRIVATE else "",
            cells=tuple(
                _cell(methods[method].get(m), m, best=None if method in NON_PRIVATE else best[m])
                for m in shown
            ),
        )
        for method in order
    )
    return ResultTable(metrics=tuple(shown), rows=tuple(rows))


def shop_table(report: Report) -> TextTable:
    """NDCG@10 of fused for each shop and surface, with its gain over best local in brackets."""
    grid: TextTable = {}
    for shop, surfaces in report.metrics.shops.items():
        row = grid.setdefault(shop, {})
        for surface, methods in surfaces.items():
            if "ndcg@10" not in methods.get("fused", {}):
                continue
            gains = report.comparison[surface].shops if surface in report.comparison else {}
            gain = f" ({signed(gains[shop].mean)})" if shop in gains else ""
            row[SURFACE_NAMES[surface]] = number(methods["fused"]["ndcg@10"].mean) + gain
    return grid


def privacy_table(report: Report) -> TextTable:
    """The guarantee and the mechanism of each shop."""
    return {
        shop: {
            "epsilon": "none" if p.epsilon is None else f"{p.epsilon:.3f}",
            "second accountant": "" if p.epsilon_check is None else f"{p.epsilon_check:.3f}",
            "delta": "" if p.delta is None else small(p.delta),
            "noise multiplier": f"{p.noise_multiplier:.4g}",
            "sample rate": f"{p.sample_rate:g}",
            "steps": str(p.steps),
            **_statistics(p),
            "sampling": p.sampling or "",
        }
        for shop, p in report.privacy.items()
    }


def _statistics(shop: ShopPrivacy) -> dict[str, str]:
    """Noise of what is released besides training, and of whose sum all noise is."""
    names = {"item-counts": "noise of counts", "pair-sums": "noise of pairs"}
    noise = {names[m.name]: f"{m.noise_multiplier:.4g}" for m in shop.mechanisms if m.name in names}
    if shared_by(shop) > 1:
        noise["noise of the sum of"] = f"{shared_by(shop)} shops"
    return noise


def round_table(rounds: Sequence[Round]) -> TextTable:
    """Norm, replies, refusals, time and traffic of each round."""
    return {
        str(r.round) if r.round else ROUND_ZERO[r.kind]: {
            "update norm": f"{r.update_norm:.4g}",
            "replies": str(r.replies),
            "refused": ", ".join(f"{x.shop}: {x.code}" for x in r.refused),
            "seconds": f"{r.seconds:.2f}",
            "MB down": f"{r.bytes_down / 1e6:.2f}",
            "MB up": f"{r.bytes_up / 1e6:.2f}",
        }
        for r in rounds
    }


def fusion_table(report: Report) -> TextTable:
    """Signals by surfaces: mean share of the fused score's weight, and how many shops use it."""
    shares: dict[str, dict[str, list[float]]] = {}
    for surfaces in report.fusion.values():
        for surface, methods in surfaces.items():
            weights = methods.get("fused", {})
            total = sum(weights.values()) or 1.0
            for signal, weight in weights.items():
                shares.setdefault(signal, {}).setdefault(surface, []).append(weight / total)
    shops = {s: sum(s in fused for fused in report.fusion.values()) for s in SURFACE_NAMES}
    return {
        signal: {
            SURFACE_NAMES[s]: f"{sum(of_shops) / shops[s]:.0%} ({sum(x > 0 for x in of_shops)})"
            for s, of_shops in by_surface.items()
        }
        for signal, by_surface in shares.items()
    }


def key_figures(report: Report) -> list[tuple[str, str, str]]:
    """The few numbers on top of the page: label, figure, what it means."""
    paid = [p for p in report.privacy.values() if p.epsilon is not None]
    epsilon = max((p.epsilon or 0.0 for p in paid), default=0.0)
    rounds = report.training.get("private") or report.training.get("non-private") or ()
    traffic = sum(r.bytes_down + r.bytes_up for r in rounds) / 1e6
    trained = [r for r in rounds if r.round > 0]
    pace = f"{fmean(r.seconds for r in trained):.2g} s each, " if trained else ""
    privacy = (f"{epsilon:.2f}", f"delta {small(paid[0].delta or 0.0)}") if paid else ("none", "")
    memory = f"{report.peak_rss_mb / 1e3:.1f} GB memory"
    return [
        ("Epsilon", *privacy),
        ("Shops", str(len(report.privacy)), _noise_of(paid)),
        ("Rounds", str(len(trained)), f"{pace}{traffic:,.1f} MB in all"),
        ("Time", duration(sum(report.seconds.values())), memory),
    ]


def _noise_of(paid: Sequence[ShopPrivacy]) -> str:
    if not paid:
        return ""
    return "each adds its own noise" if shared_by(paid[0]) == 1 else "the noise is shared"


def _best(methods: Methods, metric: str) -> str | None:
    if metric not in RANKED:
        return None
    open_to_shops = {
        name: values[metric].mean
        for name, values in methods.items()
        if metric in values and name not in NON_PRIVATE
    }
    top = max(open_to_shops.values(), default=None)
    return None if top is None else number(top, metric)


def _cell(value: Interval | None, metric: str, *, best: str | None) -> Cell:
    if value is None:
        return Cell()
    mean = number(value.mean, metric)
    ends = f"{number(value.low, metric)}–{number(value.high, metric)}"  # noqa: RUF001
    return Cell(mean=mean, interval=ends if metric in RANKED else "", best=mean == best)


_COLOURS = {**VERDICT_COLOURS, "no-better": "yellow"}
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
        colour = _COLOURS[checked.comparison[surface].verdict]
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
    table = result_table(methods, metrics=RANKED)
    columns: list[Column | str] = [left("method")]
    for metric in table.metrics:
        columns.append(METRIC_NAMES[metric])
        if metric == "ndcg@10":
            columns.append(Column("95% interval", justify="right", style="dim", no_wrap=True))
    return plain_table(columns, (_row(row, table.metrics) for row in table.rows))


def _row(row: MethodRow, metrics: Sequence[str]) -> Row:
    cells = [escape(METHOD_NAMES.get(row.method, row.method))]
    for metric, cell in zip(metrics, row.cells, strict=True):
        cells.append(f"[bold]{cell.mean}[/]" if cell.best else cell.mean)
        if metric == "ndcg@10":
            cells.append(cell.interval)
    return cells, _STYLES[row.kind]
