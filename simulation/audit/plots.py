"""Plots of an audit, in the style of the run's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from simulation.report.plots import ACCENT, INK, MUTED, WARN, inline_figure, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Figures = Mapping[str, Any]
RATES = (0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95)
"""Error rates that are labelled; the first and the last are the ends of the axes."""


def curve_plot(figures: Figures, *, name: str) -> str:
    """Draws the two errors of an attacker: measured, and the least that the claim allows.

    Both axes are in deviations of a normal distribution, where a Gaussian claim is a straight line
    and missing noise moves the measured one towards the lower left corner.

    Args:
        figures: Of a check of noise.
        name: Unique name of the plot in its page.
    """
    curve, chosen = figures["curve"], figures["chosen"]
    colour = WARN if figures["rejected"] else ACCENT
    ends = _deviations([RATES[0], RATES[-1]])
    with inline_figure(height=3.4) as (figure, axes):
        claimed = -ends - figures["mu"]
        axes.plot(ends, -ends, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
        axes.fill_between(ends, claimed, ends[0], color=INK, alpha=0.06, linewidth=0)
        rates = (_deviations(curve[key]) for key in ("false_positive", "false_negative"))
        axes.plot(*rates, color=colour, linewidth=1.8)
        axes.plot(ends, claimed, color=INK, linewidth=1.0)
        place = _deviations([chosen["false_positive"], chosen["false_negative"]])
        high = _deviations([chosen["false_positive_high"], chosen["false_negative_high"]])
        axes.plot([place[0], high[0]], [place[1], high[1]], color=colour, linewidth=1.3)
        axes.plot(place[0], place[1], "o", color=colour, markersize=4.2, markeredgewidth=0)
        axes.text(0.1, 0.3, "no signal", color=MUTED, size=8)
        axes.text(ends[0] + 0.1, ends[0] + 0.12, "not allowed by the claim", color=INK, size=8)
        _rate_axes(axes, ends)
        return inline_svg(figure, name=name)


def _deviations(rates: Sequence[float]) -> npt.NDArray[np.float64]:
    """Turns rates into deviations; none is infinite."""
    return np.asarray(norm.ppf(np.clip(rates, 1e-6, 1 - 1e-6)), dtype=np.float64)


def _rate_axes(axes: Axes, ends: npt.NDArray[np.float64]) -> None:
    """Labels deviations with the rates that they stand for."""
    labels, places = [f"{rate:g}" for rate in RATES], _deviations(RATES)
    axes.set_xlim(ends[0], ends[1])
    axes.set_ylim(ends[0], ends[1])
    axes.set_xticks(places, labels)
    axes.set_yticks(places, labels)
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("false negative rate")


def bounds_plot(figures: Figures, *, name: str) -> str:
    """Draws the lower bounds of one run beside the claimed epsilon."""
    rows = {
        "claimed": (figures["epsilon_claimed"], INK),
        "at least, f-DP": (figures["epsilon_low"], ACCENT),
        "at least, (epsilon, delta)": (figures["epsilon_low_steinke"], MUTED),
    }
    with inline_figure(height=1.25) as (figure, axes):
        for row, (value, colour) in enumerate(reversed(rows.values())):
            axes.barh(row, value, height=0.5, color=colour, alpha=0.85, linewidth=0)
            axes.text(value, row, f" {value:.2f}", color=colour, va="center", size=8)
        axes.set_yticks(range(len(rows)), list(reversed(rows)))
        axes.grid(axis="y", visible=False)
        axes.set_xlim(0, 1.15 * max(value for value, _ in rows.values()))
        axes.set_xlabel("epsilon")
        return inline_svg(figure, name=name)
