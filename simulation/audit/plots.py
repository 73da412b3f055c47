"""Plots of an audit, in the style of the run's report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import norm

from simulation.report.plots import ACCENT, INK, MUTED, WARN, inline_figure, inline_svg

Figures = Mapping[str, Any]


def curve_plot(figures: Figures, *, name: str) -> str:
    """Draws the two errors of an attacker: measured, and the least that the claim allows.

    A measured point below the claimed curve, by more than its bounds, refutes the claim.

    Args:
        figures: Of a check of noise.
        name: Unique name of the plot in its page.
    """
    curve, chosen = figures["curve"], figures["chosen"]
    positive = np.linspace(0.0, 1.0, 201)
    with inline_figure(height=3.1) as (figure, axes):
        axes.plot(positive, 1 - positive, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
        claimed = norm.cdf(norm.isf(positive) - figures["mu"])
        axes.plot(positive, claimed, color=INK, linewidth=1.4)
        axes.fill_between(positive, claimed, color=INK, alpha=0.06, linewidth=0)
        axes.plot(curve["false_positive"], curve["false_negative"], color=ACCENT, linewidth=1.6)
        colour = WARN if figures["rejected"] else ACCENT
        place = (chosen["false_positive"], chosen["false_negative"])
        high = (chosen["false_positive_high"], chosen["false_negative_high"])
        axes.plot([place[0], high[0]], [place[1], high[1]], color=colour, linewidth=1.3)
        axes.plot(*place, "o", color=colour, markersize=4.2, markeredgewidth=0)
        axes.text(0.62, 0.42, "no signal", color=MUTED, size=8)
        axes.text(0.03, 0.03, "not allowed by the claim", color=INK, size=8)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("false positive rate")
        axes.set_ylabel("false negative rate")
        return inline_svg(figure, name=name)


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
