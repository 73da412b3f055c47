"""The tables of a report as plain rows of text, for the page and for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from simulation.report.schema import (
    METHODS,
    NON_PRIVATE,
    Interval,
    Methods,
    Report,
    Round,
    ShopPrivacy,
)
from simulation.report.wording import SURFACE_NAMES, number, shared_by, signed, small

METRIC_NAMES = {
    "ndcg@10": "NDCG@10",
    "hr@10": "HR@10",
    "recall@20": "Recall@20",
    "coverage@20": "Coverage@20",
    "diversity@10": "Diversity@10",
    "novelty@10": "Novelty@10",
}
RANKED = ("ndcg@10", "hr@10", "recall@20")
"""Metrics where more is better: their best is marked and their intervals are shown."""
ROUND_ZERO = {"train": "0", "counts": "0 (item counts)", "pairs": "0 (co-purchase pairs)"}
"""Kind of a request of round 0 -> how tables name it."""
Grid = dict[str, dict[str, str]]
"""Row -> column -> text."""


@dataclass(frozen=True)
class Cell:
    """One figure: its mean, its interval (may be empty), and whether it is the best to be had."""

    mean: str
    interval: str
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One method; `kind` is `own` for fused, `reference` for what no shop can have, or ``."""

    method: str
    kind: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class ResultTable:
    """Methods by metrics of one surface."""

    metrics: tuple[str, ...]
    rows: tuple[Row, ...]


def result_table(methods: Methods, *, metrics: Sequence[str] = tuple(METRIC_NAMES)) -> ResultTable:
    """Lays out one surface; the best of all methods but the references is marked.

    Nothing is marked for coverage, diversity and novelty, where more is not simply better.
    """
    shown = [m for m in metrics if any(m in found for found in methods.values())]
    order = [m for m in METHODS if m in methods] + [m for m in methods if m not in METHODS]
    best = {m: _best(methods, m) for m in shown}
    rows = (
        Row(
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


def shop_table(report: Report) -> Grid:
    """NDCG@10 of fused for each shop and surface, with its gain over best local in brackets."""
    grid: Grid = {}
    for shop, surfaces in report.metrics.shops.items():
        row = grid.setdefault(shop, {})
        for surface, methods in surfaces.items():
            if "ndcg@10" not in methods.get("fused", {}):
                continue
            gains = report.comparison[surface].shops if surface in report.comparison else {}
            gain = f" ({signed(gains[shop].mean)})" if shop in gains else ""
            row[SURFACE_NAMES[surface]] = number(methods["fused"]["ndcg@10"].mean) + gain
    return grid


def privacy_table(report: Report) -> Grid:
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
    found = {names[m.name]: f"{m.noise_multiplier:.4g}" for m in shop.mechanisms if m.name in names}
    if shared_by(shop) > 1:
        found["noise of the sum of"] = f"{shared_by(shop)} shops"
    return found


def round_table(rounds: Sequence[Round]) -> Grid:
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


def fusion_table(report: Report) -> Grid:
    """Signals by surfaces: mean share of the fused score's weight, and how many shops use it."""
    shares: dict[str, dict[str, list[float]]] = {}
    for surfaces in report.fusion.values():
        for surface, methods in surfaces.items():
            weights = methods.get("fused", {})
            total = sum(weights.values()) or 1.0
            for signal, weight in weights.items():
                shares.setdefault(signal, {}).setdefault(surface, []).append(weight / total)
    shops = {s: sum(s in found for found in report.fusion.values()) for s in SURFACE_NAMES}
    return {
        signal: {
            SURFACE_NAMES[s]: f"{sum(found) / shops[s]:.0%} ({sum(x > 0 for x in found)})"
            for s, found in by_surface.items()
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


def duration(seconds: float) -> str:
    """Formats seconds: `71 s`, `4 min 10 s`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60:02d} s"


def plain(value: Any) -> str:
    """Formats any JSON value for a reader: thousands separated, lists on one line."""
    if value is None:
        return "–"  # noqa: RUF001 - the dash of an empty cell
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return small(float(f"{value:.6g}"))
    if isinstance(value, list | tuple):
        return ", ".join(plain(v) for v in value) or "–"  # noqa: RUF001
    return str(value)


def _best(methods: Methods, metric: str) -> str | None:
    if metric not in RANKED:
        return None
    open_to_shops = {
        name: found[metric].mean
        for name, found in methods.items()
        if metric in found and name not in NON_PRIVATE
    }
    top = max(open_to_shops.values(), default=None)
    return None if top is None else number(top, metric)


def _cell(value: Interval | None, metric: str, *, best: str | None) -> Cell:
    if value is None:
        return Cell(mean="", interval="")
    mean = number(value.mean, metric)
    ends = f"{number(value.low, metric)}–{number(value.high, metric)}"  # noqa: RUF001
    return Cell(mean=mean, interval=ends if metric in RANKED else "", best=mean == best)
