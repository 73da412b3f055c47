"""The tables of a sweep as plain rows of text, for the page and for the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from simulation.report.schema import Interval
from simulation.report.wording import MINUS, number, signed
from simulation.sweep.recommendation import NOISE_NAMES, p_text, percent, surface_name
from simulation.sweep.schema import ComparisonRecord, SurfaceSweep, SweepReport, Verdict


@dataclass(frozen=True)
class Row:
    """One epsilon and kind of noise on one surface; texts, empty where there is nothing to say."""

    noise: str
    epsilon: str
    fused: str
    gain: str
    gain_interval: str
    percent: str
    p: str
    recovered: str
    recovered_interval: str
    seeds: str
    shops: str
    global_alone: str
    verdict: Verdict


@dataclass(frozen=True)
class CostRow:
    """What one run cost."""

    name: str
    seconds: float
    up: str
    down: str
    refused: int
    epsilon: str


def surface_rows(surface: SurfaceSweep) -> tuple[Row, ...]:
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
            f"{surface_name(name)}, {run_name(c)}",
            ", ".join(f"{shop} ({signed(c.shops[shop].mean)})" for shop in c.hurt),
        )
        for name, surface in sweep.surfaces.items()
        for c in surface.comparisons
        if c.hurt
    ]


def run_name(comparison: ComparisonRecord) -> str:
    """Names epsilon and noise inside a sentence."""
    if comparison.epsilon is None:
        return NOISE_NAMES[None]
    return f"epsilon {comparison.epsilon:g}, {NOISE_NAMES[comparison.noise]}"


def method_note(sweep: SweepReport) -> str:
    """Says how intervals and p-values were made, and what they leave out."""
    seeds, correction = len(sweep.seeds), sweep.correction
    first = (
        f"Each user's NDCG@10 of fused is first averaged over the {seeds} seeds"
        if seeds > 1
        else "One seed: how much another draw of the noise would change is not known"
    )
    return (
        f"{first}; intervals are 95% percentile intervals of {correction.draws:,} bootstrap draws "
        "of users within their shops, the same users for both methods. Better and worse are said "
        "where the two-sided bootstrap p-value, corrected by Holm's method for the "
        f"{correction.comparisons} comparisons on this page, is below {correction.level:g}. Shops "
        "are counted by their own intervals, which are not corrected: of shops without any effect, "
        "up to one in twenty is counted as helped or hurt by chance."
    )


def _row(c: ComparisonRecord) -> Row:
    return Row(
        noise=c.noise or "none",
        epsilon="none" if c.epsilon is None else f"{c.epsilon:g}",
        fused=number(c.fused.mean),
        gain=signed(c.gain.mean),
        gain_interval=f"{signed(c.gain.low)} to {signed(c.gain.high)}",
        percent=percent(c.gain_percent.mean) if c.gain_percent else "",
        p=p_text(c.p_adjusted).replace("below ", "<"),
        recovered=share(c.recovered.mean) if c.recovered else "",
        recovered_interval=_shares(c.recovered) if c.recovered else "",
        seeds="" if c.seed_deviation is None else f"±{c.seed_deviation:.4f}",
        shops=f"{len(c.helped)} / {len(c.hurt)} / {len(c.undecided)}",
        global_alone=number(c.global_alone.mean) if c.global_alone else "",
        verdict=c.verdict,
    )


def share(value: float) -> str:
    """Formats a share of the headroom: `0.27`, with a real minus."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", MINUS)


def _shares(interval: Interval) -> str:
    return f"{share(interval.low)} to {share(interval.high)}"
