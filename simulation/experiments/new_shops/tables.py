"""The figures about new shops as texts, for the page and for the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from simulation.experiments.new_shops.recommendation import percent_of
from simulation.experiments.new_shops.schema import (
    GainRecord,
    GroupRecord,
    NewShopsReport,
    SurfaceRecord,
)
from simulation.reporting.records import Interval, listing, number
from simulation.reporting.tables import Cell, bootstrap_note, epsilon_text, gain_cell


@dataclass(frozen=True)
class NewShopRow:
    """One size and kind of federation on one surface; texts, empty where nothing was measured."""

    size: int
    epsilon: str
    noise: str
    text: str
    local: str
    alone: str
    pairs: str
    fused: str
    joined: Cell
    trained: Cell
    total: Cell
    first: bool


def surface_rows(report: NewShopsReport, surface: str) -> tuple[NewShopRow, ...]:
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
    note = bootstrap_note(
        report.correction, same_users="all methods and sizes", least="at least that of a sign test"
    )
    measured = len(next(iter(report.sizes.values())).shops) if report.sizes else 0
    who = "Each shop" if measured == len(report.shops) else f"Each of {measured} shops"
    return (
        f"{who} was held out of a federation of all others, which it then joins as a new shop: "
        "it learns and tunes on so many of its own users, and all of its users are asked. With no "
        "users of its own, the best that a shop reaches alone is zero-shot text. "
        f"{note[0].upper()}{note[1:]} There is one draw of the noise for each shop: how much "
        "another one would change is not in the intervals."
    )


def _row(size: int, surface: SurfaceRecord, group: GroupRecord, *, first: bool) -> NewShopRow:
    gains = group.gains
    return NewShopRow(
        size=size,
        epsilon=epsilon_text(group.epsilon),
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


def _cell(gain: GainRecord) -> Cell:
    return gain_cell(
        gain.difference,
        percent=percent_of(gain),
        p_adjusted=gain.p_adjusted,
        verdict=gain.verdict,
    )
