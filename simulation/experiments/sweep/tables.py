"""The tables of a sweep as plain rows of text, for the page and for the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from simulation.experiments.sweep.schema import ComparisonRecord, SurfaceSweep, SweepReport
from simulation.reporting.records import (
    MINUS,
    Interval,
    kind_name,
    number,
    percent,
    signed,
    surface_name,
)
from simulation.reporting.tables import Cell, bootstrap_note, epsilon_text, gain_cell


@dataclass(frozen=True)
class ComparisonRow:
    """One epsilon and kind of noise on one surface; texts, empty where there is nothing to say."""

    noise: str
    epsilon: str
    fused: str
    gain: Cell
    recovered: Cell
    seeds: str
    shops: str
    global_alone: str


@dataclass(frozen=True)
class CostRow:
    """What one run cost."""

    name: str
    seconds: float
    up: str
    down: str
    refused: int
    epsilon: str


def surface_rows(surface: SurfaceSweep) -> tuple[ComparisonRow, ...]:
    """One row a comparison, in their order."""
    return tuple(_row(comparison) for comparison in surface.comparisons)


def cost_rows(sweep: SweepReport) -> tuple[CostRow, ...]:
    """One row a run, in the order in which they ran."""
    return tuple(
        CostRow(
            name=v.name,
            seconds=v.train_seconds,
            up=f"{v.bytes_up / 1e6:,.2f}",
            down=f"{v.bytes_down / 1e6:,.2f}",
            refused=v.refused,
            epsilon="none" if v.epsilon_paid is None else f"{v.epsilon_paid:.2f}",
        )
        for v in sweep.variants
    )


def lost_rows(sweep: SweepReport) -> list[tuple[str, str]]:
    """Lists, by noise, epsilon and surface, the shops whose own interval lies below 0."""
    return [
        (
            f"{surface_name(name)}, {kind_name(c.epsilon, c.noise)}",
            ", ".join(f"{shop} ({signed(c.shops[shop].mean)})" for shop in c.hurt),
        )
        for name, surface in sweep.surfaces.items()
        for c in surface.comparisons
        if c.hurt
    ]


def method_note(sweep: SweepReport) -> str:
    """Says how intervals and p-values were made, and what they leave out."""
    seeds = len(sweep.seeds)
    first = (
        f"Each user's NDCG@10 of fused is first averaged over the {seeds} seeds"
        if seeds > 1
        else "One seed: how much another draw of the noise would change is not known"
    )
    return (
        f"{first}; {bootstrap_note(sweep.correction, same_users='both methods')} Shops "
        "are counted by their own intervals, which are not corrected: of shops without any effect, "
        "up to one in twenty is counted as helped or hurt by chance."
    )


def _row(c: ComparisonRecord) -> ComparisonRow:
    return ComparisonRow(
        noise=c.noise or "none",
        epsilon=epsilon_text(c.epsilon),
        fused=number(c.fused.mean),
        gain=gain_cell(
            c.gain,
            percent=percent(c.gain_percent.mean) if c.gain_percent else "",
            p_adjusted=c.p_adjusted,
            verdict=c.verdict,
        ),
        recovered=_share_cell(c.recovered),
        seeds="" if c.seed_deviation is None else f"±{c.seed_deviation:.4f}",
        shops=f"{len(c.helped)} / {len(c.hurt)} / {len(c.undecided)}",
        global_alone=number(c.global_alone.mean) if c.global_alone else "",
    )


def share(value: float) -> str:
    """Formats a share of the headroom: `0.27`, with a real minus."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", MINUS)


def _share_cell(value: Interval | None) -> Cell:
    if value is None:
        return Cell()
    return Cell(mean=share(value.mean), interval=f"{share(value.low)} to {share(value.high)}")
