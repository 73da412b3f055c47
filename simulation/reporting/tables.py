"""What the tables of all experiments are made of: one cell, and how its figures came about."""

from __future__ import annotations

from dataclasses import dataclass

from simulation.reporting.records import Correction, Interval, Verdict, p_text, signed


@dataclass(frozen=True)
class Cell:
    """One figure as texts, empty where there is nothing to say.

    Attributes:
        mean: The figure.
        interval: Its 95% interval.
        percent: The same in per cent of what it is compared with.
        p: Its adjusted p-value.
        verdict: What may be said of it; None for a figure that is no difference.
        best: Whether it is the best to be had.
    """

    mean: str = ""
    interval: str = ""
    percent: str = ""
    p: str = ""
    verdict: Verdict | None = None
    best: bool = False


def gain_cell(gain: Interval, *, percent: str, p_adjusted: float, verdict: Verdict) -> Cell:
    """Returns the cell of a difference between two methods."""
    return Cell(
        mean=signed(gain.mean),
        interval=f"{signed(gain.low)} to {signed(gain.high)}",
        percent=percent,
        p=p_text(p_adjusted).replace("below ", "<"),
        verdict=verdict,
    )


def bootstrap_note(correction: Correction, *, same_users: str, least: str = "") -> str:
    """Says how intervals and p-values came about, beginning inside a sentence.

    Args:
        correction: Of all comparisons of the file.
        same_users: For what the same users are drawn, such as "both methods".
        least: What bounds the p-value from below, in brackets.
    """
    bound = f" ({least})" if least else ""
    alone = ""
    if (primary := correction.primary) is not None:
        alone = f" {primary[0].upper()}{primary[1:]} was named beforehand and is judged by itself."
    return (
        f"intervals are 95% percentile intervals of {correction.draws:,} bootstrap draws of users "
        f"within their shops, the same users for {same_users}. Better and worse are said where the "
        f"two-sided bootstrap p-value{bound}, corrected by {correction.method}'s method for the "
        f"{correction.comparisons} comparisons on this page, is below {correction.level:g}.{alone}"
    )


def epsilon_text(epsilon: float | None) -> str:
    """Formats an epsilon for a column: `8`, or `none` without privacy."""
    return "none" if epsilon is None else f"{epsilon:g}"
