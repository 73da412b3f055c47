"""`sweep.html` and `sweep.json`.

One page about a whole sweep with its plots, and the file behind it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulation.experiments.sweep.schema import ComparisonRecord, SurfaceSweep, SweepReport
from simulation.experiments.sweep.tables import cost_rows, lost_rows, method_note, surface_rows
from simulation.reporting.page import (
    COLOURS,
    INK,
    MUTED,
    draw_interval,
    end_labels,
    inline_figure,
    inline_svg,
    label_axes,
    line_with_intervals,
    render,
    write_page,
)
from simulation.reporting.records import (
    ASSUMES,
    NOISE_NAMES,
    SURFACE_NOTES,
    Interval,
    duration,
    number,
    signed,
    surface_name,
)
from simulation.reporting.tables import epsilon_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    free = [interval for c in comparisons if c.epsilon is None and (interval := value(c))]
    for noise in dict.fromkeys(c.noise for c in comparisons if c.epsilon is not None):
        colour, shift = COLOURS[noise], _SHIFT[noise]
        mine = sorted((c for c in comparisons if c.noise == noise), key=lambda c: c.epsilon or 0.0)
        points = [(place[c.epsilon] + shift, interval) for c in mine if (interval := value(c))]
        line_with_intervals(axes, points, colour=colour, width=1.6)
        if points and free:
            x, y = [points[-1][0], place[None]], [points[-1][1].mean, free[0].mean]
            axes.plot(x, y, color=colour, linewidth=1.2, linestyle=":")
    for interval in free:
        draw_interval(axes, interval, at=place[None], colour=MUTED, vertical=True)


def _finish(
    axes: Axes, place: Mapping[float | None, float], *, ylabel: str, room: float = 0.1
) -> None:
    """Labels the axes; `room` is free space on the right as a share of the width."""
    left, right = min(place.values()), max(place.values())
    width = max(1.0, right - left)
    label_axes(
        axes,
        {x: epsilon_text(epsilon) for epsilon, x in place.items()},
        span=(left - 0.1 * width, right + room * width),
        xlabel="epsilon (none: without privacy)" if None in place else "epsilon",
        ylabel=ylabel,
    )


def sweep_page(sweep: SweepReport) -> str:
    """Returns the text of the page."""
    return render(
        "sweep.html",
        folder=Path(__file__).parent,
        sweep=sweep,
        noise_names=NOISE_NAMES,
        kinds={v.noise or "none": NOISE_NAMES[v.noise] for v in sweep.variants},
        surfaces=[_surface(name, surface) for name, surface in sweep.surfaces.items()],
        assumes=ASSUMES,
        lost=lost_rows(sweep),
        costs=cost_rows(sweep),
        duration=duration,
        note=method_note(sweep),
    )


def _surface(name: str, surface: SurfaceSweep) -> dict[str, Any]:
    drawn = {
        "Quality": quality_plot(surface, name=f"quality-{name}"),
        "Earned by joining": gain_plot(surface, name=f"gain-{name}"),
        "Headroom recovered": recovered_plot(surface, name=f"recovered-{name}"),
    }
    return {
        "name": name,
        "title": surface_name(name),
        "note": SURFACE_NOTES.get(name, ""),
        "levels": _levels(surface),
        "no_headroom": surface.lacks_headroom,
        "rows": surface_rows(surface),
        "seeds": any(c.seed_deviation is not None for c in surface.comparisons),
        "plots": {title: plot for title, plot in drawn.items() if plot},
    }


def _levels(surface: SurfaceSweep) -> str:
    text = f"{surface.users:,} users; best local {number(surface.best_local.mean)}"
    if surface.pooled is not None and surface.headroom is not None:
        gap = surface.headroom
        text += (
            f", all data pooled {number(surface.pooled.mean)}: a headroom of {signed(gap.mean)} "
            f"({signed(gap.low)} to {signed(gap.high)})"
        )
    return text


STEM = "sweep"
"""Name of page and JSON."""


def write_sweep(sweep: SweepReport, folder: Path) -> None:
    """Writes `sweep.html` and, last, `sweep.json`.

    Raises:
        StorageError: A file cannot be written.
    """
    write_page(folder, STEM, html=sweep_page(sweep), json=sweep.to_json())
