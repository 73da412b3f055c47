"""The plot about new shops: NDCG@10 against a shop's own users, as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from simulation.new_shops.schema import NewShopsReport
from simulation.report.plots import (
    INK,
    MUTED,
    draw_interval,
    end_labels,
    inline_figure,
    inline_svg,
)
from simulation.report.schema import Interval
from simulation.sweep.plots import COLOURS
from simulation.sweep.recommendation import surface_name
from simulation.sweep.variants import Noise

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Line = dict[int, Interval]
"""Size -> NDCG@10."""
_SPREAD = 0.26
"""Width over which the lines of one size stand apart, so that their intervals can be told apart."""
_STYLES = ("-", (0, (5, 1.5)), (0, (2, 1.2)), (0, (1, 1)))
"""Of one colour, by falling epsilon."""
_SHORT: dict[Noise | None, str] = {"shop": "shop", "shared": "shared", None: ""}


def size_plot(report: NewShopsReport, surface: str, *, name: str) -> str:
    """Draws fused of each kind of federation, best local and zero-shot text over own users.

    Args:
        report: What was measured.
        surface: The surface.
        name: Unique name of the plot in its page.
    """
    records = {n: r.surfaces[surface] for n, r in report.sizes.items() if surface in r.surfaces}
    place = {size: float(i) for i, size in enumerate(records)}
    styles = _line_styles(report)
    with inline_figure(height=3.2) as (figure, axes):
        ends: dict[str, tuple[float, str]] = {}
        text = {n: r.methods["text"] for n, r in records.items()}
        local = {n: r.methods["best-local"] for n, r in records.items()}
        _line(axes, text, place, colour=INK, style=(0, (1, 2)))
        _line(axes, local, place, colour=INK, style="-", width=2.2)
        last = max(records)
        ends |= {"best local": (local[last].mean, INK), "text": (text[last].mean, INK)}
        for i, facts in enumerate(report.groups):
            line = {n: r.groups[i].methods["fused"] for n, r in records.items()}
            shift = _SPREAD * ((i + 0.5) / len(report.groups) - 0.5)
            colour = COLOURS[facts.noise]
            _line(axes, line, place, colour=colour, style=styles[i], shift=shift, bars=True)
            ends[_label(facts.epsilon, facts.noise)] = (line[last].mean, colour)
        room = 0.42 * max(1.0, place[last])
        axes.set_xlim(-0.25, place[last] + _SPREAD + room)
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.03 * len(ends) * (high - low))  # labels are pushed upwards
        end_labels(axes, ends, at=place[last] + _SPREAD / 2 + 0.08, gap_share=0.055)
        axes.set_xticks(list(place.values()), [f"{size}" for size in place])
        axes.set_xlabel("users of its own")
        axes.set_ylabel(f"NDCG@10, {surface_name(surface)}")
        return inline_svg(figure, name=name)


def _label(epsilon: float | None, noise: Noise | None) -> str:
    if epsilon is None:
        return "no privacy"
    return f"ε {epsilon:g} {_SHORT[noise]}"


def _line_styles(report: NewShopsReport) -> list[object]:
    """One dash pattern a group: solid for the largest epsilon of its colour."""
    by_noise: dict[Noise | None, list[float]] = {}
    for g in report.groups:
        by_noise.setdefault(g.noise, []).append(g.epsilon or 0.0)
    ranks = [sorted(by_noise[g.noise], reverse=True).index(g.epsilon or 0.0) for g in report.groups]
    return [_STYLES[min(rank, len(_STYLES) - 1)] for rank in ranks]


def _line(
    axes: Axes,
    line: Line,
    place: Mapping[int, float],
    *,
    colour: str,
    style: object,
    width: float = 1.5,
    shift: float = 0.0,
    bars: bool = False,
) -> None:
    x = [place[size] + shift for size in line]
    y = [value.mean for value in line.values()]
    axes.plot(x, y, color=colour, linewidth=width, linestyle=style)
    for at, value in zip(x, line.values(), strict=True) if bars else ():
        draw_interval(axes, value, at=at, colour=colour, vertical=True)
    if not bars:
        axes.plot(x, y, "o", color=colour if colour != MUTED else INK, markersize=3.0)
