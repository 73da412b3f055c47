"""`users-curve.html` and `users-curve.json`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from simulation.experiments.users_curve.points import curve_rows, kinds_of, surfaces_of, title_of
from simulation.experiments.users_curve.schema import CurveGain, CurvePoint, UsersCurve
from simulation.reporting.page import (
    COLOURS,
    INK,
    MUTED,
    end_labels,
    inline_figure,
    inline_svg,
    label_axes,
    line_with_intervals,
    render,
    write_page,
)
from simulation.reporting.records import Interval, surface_name
from simulation.reporting.tables import epsilon_text

STEM = "users-curve"
"""Name of page and JSON."""
_STYLES = ("-", (0, (5, 1.5)), (0, (2, 1.2)), (0, (1, 1)))
"""By falling epsilon."""
Value = Callable[[CurveGain], Interval | None]


def write_users_curve(curve: UsersCurve, folder: Path) -> None:
    """Writes `users-curve.html` and, last, `users-curve.json`.

    Raises:
        StorageError: A file cannot be written.
    """
    write_page(folder, STEM, html=users_curve_page(curve), json=curve.to_json())


def users_curve_page(curve: UsersCurve) -> str:
    """Returns the text of the page."""
    return render(
        "users-curve.html",
        folder=Path(__file__).parent,
        curve=curve,
        title=title_of(curve),
        surfaces=[
            {
                "name": name,
                "title": surface_name(name),
                "plots": _plots(curve, name),
                "rows": list(curve_rows(curve, name)),
            }
            for name in surfaces_of(curve)
        ],
    )


def _plots(curve: UsersCurve, surface: str) -> dict[str, str]:
    drawn = {
        "Headroom recovered": _plot(
            curve, surface, lambda g: g.recovered, "share of the headroom", "recovered"
        ),
        "Gain over the placebo": _plot(
            curve, surface, lambda g: g.over_placebo, "NDCG@10, fused minus placebo", "placebo"
        ),
    }
    return {title: plot for title, plot in drawn.items() if plot}


def _plot(curve: UsersCurve, surface: str, value: Value, ylabel: str, name: str) -> str:
    """Draws a line for each kind of federation and number of shops; empty without a value."""
    lines = {
        (shops, kind): points
        for shops in dict.fromkeys(point.shops for point in curve.points)
        for kind in kinds_of(curve)
        if (points := _points(curve, surface, shops, kind, value))
    }
    if not lines:
        return ""
    falling = sorted({e or math.inf for e, _ in kinds_of(curve)}, reverse=True)
    with inline_figure(height=3.2) as (figure, axes):
        axes.axhline(0.0, color=INK, linewidth=0.9)
        ends = {}
        several = len({shops for shops, _ in lines}) > 1
        for (shops, (epsilon, noise)), points in lines.items():
            style = _STYLES[min(falling.index(epsilon or math.inf), len(_STYLES) - 1)]
            line_with_intervals(axes, points, colour=COLOURS[noise], width=1.5, style=style)
            label = "no privacy" if epsilon is None else f"\u03b5 {epsilon_text(epsilon)} {noise}"
            label += f", {shops} shops" * several
            ends[label] = (points[-1][1].mean, COLOURS[noise] if noise else MUTED)
        places = {math.log2(p.users): f"{p.users:,}" for p in curve.points if surface in p.surfaces}
        left, right = min(places), max(places)
        width = max(1.0, right - left)
        end_labels(axes, ends, at=right + 0.06 * width, gap_share=0.06)
        label_axes(
            axes,
            places,
            span=(left - 0.08 * width, right + 0.6 * width),
            xlabel="users of all shops together",
            ylabel=ylabel,
        )
        return inline_svg(figure, name=f"{name}-{surface}")


def _points(
    curve: UsersCurve,
    surface: str,
    shops: int,
    kind: tuple[float | None, str | None],
    value: Value,
) -> list[tuple[float, Interval]]:
    def gain(point: CurvePoint) -> Interval | None:
        measured = point.surfaces.get(surface)
        gains = [g for g in measured.gains if (g.epsilon, g.noise) == kind] if measured else []
        return value(gains[0]) if gains else None

    points = [(math.log2(p.users), gain(p)) for p in curve.points if p.shops == shops]
    measured = [(place, interval) for place, interval in points if interval is not None]
    return sorted(measured, key=lambda pair: pair[0])
