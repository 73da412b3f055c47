"""The figures about new shops as texts, for the page and for the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from simulation.new_shops.advice import percent_of
from simulation.new_shops.schema import GainRecord, GroupRecord, NewShopsReport, SurfaceRecord
from simulation.report.schema import Interval
from simulation.report.wording import listing, number, signed
from simulation.sweep.recommendation import p_text
from simulation.sweep.schema import Verdict


@dataclass(frozen=True)
class GainCell:
    """A gain: in percent, its absolute value with interval, adjusted p and verdict."""

    percent: str
    difference: str
    interval: str
    p: str
    verdict: Verdict


@dataclass(frozen=True)
class Row:
    """One size and kind of federation on one surface; texts, empty where nothing was measured."""

    size: int
    epsilon: str
    noise: str
    text: str
    local: str
    alone: str
    pairs: str
    fused: str
    joined: GainCell
    trained: GainCell
    total: GainCell
    first: bool


def surface_rows(report: NewShopsReport, surface: str) -> tuple[Row, ...]:
    """One row a size and kind of federation, sizes first."""
    return tuple(
        _row(size, record.surfaces[surface], group, first=i == 0)
        for size, record in report.sizes.items()
        if surface in record.surfaces
        for i, group in enumerate(record.surfaces[surface].groups)
    )


def surfaces_of(report: NewShopsReport) -> list[str]:
    """Surfaces that were measured at some size, in the order of reports."""
    return list(dict.fromkeys(s for record in report.sizes.values() for s in record.surfaces))


def left_out_notes(report: NewShopsReport) -> list[str]:
    """Says which shops are missing at which size."""
    return [
        f"With {size} users of {len(record.shops)} shops; {listing(list(record.left_out))} "
        f"{'has' if len(record.left_out) == 1 else 'have'} fewer"
        for size, record in report.sizes.items()
        if record.left_out
    ]


def method_note(report: NewShopsReport) -> str:
    """Says how the figures were made."""
    c = report.correction
    return (
        "Each shop was held out of a federation of all others, which it then joins as a new shop: "
        "it learns and tunes on so many of its own users, and all of its users are asked. With no "
        "users of its own, the best that a shop reaches alone is zero-shot text. Intervals are 95% "
        f"percentile intervals of {c.draws:,} bootstrap draws of users within their shops, the "
        "same users for all methods and sizes. Better and worse are said where the two-sided "
        "bootstrap p-value (at least that of a sign test), corrected by "
        f"{c.method}'s method for the {c.comparisons} comparisons on this page, is below "
        f"{c.level:g}. There is one draw of the noise for each shop: how much another one would "
        "change is not in the intervals."
    )


def _row(size: int, surface: SurfaceRecord, group: GroupRecord, *, first: bool) -> Row:
    gains = group.gains
    return Row(
        size=size,
        epsilon="none" if group.epsilon is None else f"{group.epsilon:g}",
        noise=group.noise or "none",
        text=number(surface.methods["text"].mean),
        local=number(surface.methods["best-local"].mean),
        alone=_mean(group.methods.get("global")),
        pairs=_mean(group.methods.get("pairs")),
        fused=_mean(group.methods.get("fused")),
        joined=_cell(gains["fused-over-best-local"]),
        trained=_cell(gains["global-over-text"]),
        total=_cell(gains["fused-over-text"]),
        first=first,
    )


def _mean(value: Interval | None) -> str:
    return "" if value is None else number(value.mean)


def _cell(gain: GainRecord) -> GainCell:
    d = gain.difference
    return GainCell(
        percent=percent_of(gain),
        difference=signed(d.mean),
        interval=f"{signed(d.low)} to {signed(d.high)}",
        p=p_text(gain.p_adjusted).replace("below ", "<"),
        verdict=gain.verdict,
    )
