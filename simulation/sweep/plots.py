"""The plots of a sweep: one line a kind of noise over epsilon, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from simulation.report.plots import (
    ACCENT,
    INK,
    MUTED,
    SECOND,
    draw_interval,
    end_labels,
    inline_figure,
    inline_svg,
)
from simulation.report.schema import Interval
from simulation.sweep.schema import ComparisonRecord, SurfaceSweep
from simulation.sweep.variants import Noise

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS: dict[Noise | None, str] = {"shop": ACCENT, "shared": SECOND, None: MUTED}
_SHIFT = {"shop": -0.05, "shared": 0.05, None: 0.0}
_HEIGHT = 2.9
_LEAST = 0.0005
Value = Callable[[ComparisonRecord], Interval | None]


def quality_plot(surface: SurfaceSweep, *, name: str) -> str:
    """Draws NDCG@10 of fused over epsilon, between best local and pooled."""
    with inline_figure(height=_HEIGHT) as (figure, axes):
        place = _places(surface.comparisons)
        span = [min(place.values()) - 0.2, max(place.values()) + 0.2]
        levels = {"best local": (surface.best_local, INK), "pooled": (surface.pooled, MUTED)}
        ends: dict[str, tuple[float, str]] = {}
        for label, (level, colour) in levels.items():
            if level is not None:
                axes.fill_between(
                    span, level.low, level.high, color=colour, alpha=0.08, linewidth=0
                )
                axes.plot(
                    span, [level.mean] * 2, color=colour, linewidth=1.0, linestyle=(0, (3, 2))
                )
                ends[label] = (level.mean, colour)
        _curves(axes, surface.comparisons, place, value=lambda c: c.fused)
        end_labels(axes, ends, at=span[1] + 0.05, gap_share=0.07)
        _finish(axes, place, ylabel="NDCG@10, fused", room=0.32)
        return inline_svg(figure, name=name)


def gain_plot(surface: SurfaceSweep, *, name: str) -> str:
    """Draws fused minus best local over epsilon: paired intervals, and a dot for each seed."""
    with inline_figure(height=_HEIGHT) as (figure, axes):
        place = _places(surface.comparisons)
        axes.axhline(0.0, color=INK, linewidth=0.9)
        _curves(axes, surface.comparisons, place, value=lambda c: c.gain)
        for c in surface.comparisons:
            for seed in c.seeds if len(c.seeds) > 1 else ():
                at = place[c.epsilon] + _SHIFT[c.noise] + 0.09
                axes.plot(at, seed.gain, "o", color=COLOURS[c.noise], alpha=0.55, markersize=2.2)
        if max(abs(end) for end in axes.get_ylim()) < _LEAST:
            axes.set_ylim(-_LEAST, _LEAST)
        _finish(axes, place, ylabel="NDCG@10, fused minus best local")
        return inline_svg(figure, name=name)


def recovered_plot(surface: SurfaceSweep, *, name: str) -> str:
    """Draws the share of the headroom that each epsilon recovers; empty where there is none."""
    if not any(c.recovered for c in surface.comparisons):
        return ""
    with inline_figure(height=_HEIGHT) as (figure, axes):
        place = _places(surface.comparisons)
        axes.axhline(0.0, color=INK, linewidth=0.9)
        axes.axhline(1.0, color=MUTED, linewidth=0.9, linestyle=(0, (3, 2)))
        _curves(axes, surface.comparisons, place, value=lambda c: c.recovered)
        _finish(axes, place, ylabel="share of the headroom recovered")
        return inline_svg(figure, name=name)


def _places(comparisons: Sequence[ComparisonRecord]) -> dict[float | None, float]:
    """Where each epsilon stands: log2, with no privacy one step to the right of the largest."""
    paid = sorted({c.epsilon for c in comparisons if c.epsilon is not None})
    places: dict[float | None, float] = {e: math.log2(e) for e in paid}
    if any(c.epsilon is None for c in comparisons):
        places[None] = math.log2(paid[-1]) + 1 if paid else 0.0
    return places


def _curves(
    axes: Axes,
    comparisons: Sequence[ComparisonRecord],
    place: Mapping[float | None, float],
    *,
    value: Value,
) -> None:
    """Draws a line a kind of noise, dotted on to no privacy."""
    free = [found for c in comparisons if c.epsilon is None and (found := value(c))]
    for noise in dict.fromkeys(c.noise for c in comparisons if c.epsilon is not None):
        colour, shift = COLOURS[noise], _SHIFT[noise]
        mine = sorted((c for c in comparisons if c.noise == noise), key=lambda c: c.epsilon or 0.0)
        points = [(place[c.epsilon] + shift, found) for c in mine if (found := value(c))]
        _line(axes, points, colour=colour)
        if points and free:
            x, y = [points[-1][0], place[None]], [points[-1][1].mean, free[0].mean]
            axes.plot(x, y, color=colour, linewidth=1.2, linestyle=":")
    for found in free:
        draw_interval(axes, found, at=place[None], colour=MUTED, vertical=True)


def _line(axes: Axes, points: Sequence[tuple[float, Interval]], *, colour: str) -> None:
    axes.plot([x for x, _ in points], [i.mean for _, i in points], color=colour, linewidth=1.6)
    for x, interval in points:
        draw_interval(axes, interval, at=x, colour=colour, vertical=True)


def _finish(
    axes: Axes, place: Mapping[float | None, float], *, ylabel: str, room: float = 0.1
) -> None:
    """Labels the axes; `room` is free space on the right as a share of the width."""
    left, right = min(place.values()), max(place.values())
    width = max(1.0, right - left)
    axes.set_xlim(left - 0.1 * width, right + room * width)
    axes.set_xticks(list(place.values()), ["none" if e is None else f"{e:g}" for e in place])
    axes.set_xlabel("epsilon (none: without privacy)" if None in place else "epsilon")
    axes.set_ylabel(ylabel)
