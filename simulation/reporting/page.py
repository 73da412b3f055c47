"""Pages that load nothing from elsewhere, and their plots as inline SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.runtime.file_store import write_atomic
from simulation.reporting.records import (
    METHOD_NAMES,
    METRIC_NAMES,
    SURFACE_NAMES,
    SURFACE_NOTES,
    Interval,
    Noise,
    plain,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def render(template: str, *, folder: Path | None = None, **values: Any) -> str:
    """Fills a template; everything but the plots is escaped.

    Args:
        template: Name of its file.
        folder: Where it is besides this folder, which holds the frame of all pages.
        **values: What the template names.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    own = Path(__file__).parent
    loader = FileSystemLoader([folder, own] if folder else own)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters |= {
        "plain": plain,
        "metric_name": METRIC_NAMES.__getitem__,
        "is_table": _is_table,
        "columns": _columns,
    }
    names = {"surface_names": SURFACE_NAMES, "surface_notes": SURFACE_NOTES}
    return environment.get_template(template).render(method_names=METHOD_NAMES, **names, **values)


def write_page(folder: Path, stem: str, *, html: str, json: str) -> dict[str, Path]:
    """Writes `stem.html` and, last, `stem.json`, which stands for both; older ones are replaced.

    Returns:
        `page` and `JSON` -> what was written.

    Raises:
        StorageError: A file cannot be written.
    """
    files = {"page": folder / f"{stem}.html", "JSON": folder / f"{stem}.json"}
    for path, text in zip(files.values(), (html, json), strict=True):
        write_atomic(path, text.encode(), durable=False, private=False)
    return files


def _columns(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The keys of all rows in order of appearance."""
    return list(dict.fromkeys(column for row in rows.values() for column in row))


def _is_table(value: Mapping[str, Any]) -> bool:
    """Whether a mapping of mappings reads better as a grid: several flat rows of like keys."""
    rows = list(value.values())
    flat = all(
        isinstance(row, Mapping) and row and not any(isinstance(v, Mapping) for v in row.values())
        for row in rows
    )
    return flat and len(rows) > 1 and len(_columns(value)) <= 12


INK, MUTED, GRID, ACCENT, SECOND, WARN = (f"#0a0b0{digit}" for digit in range(1, 7))
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    ACCENT: "var(--accent)",
    SECOND: "var(--second)",
    WARN: "var(--warn)",
}
_STYLE = {
    "svg.fonttype": "none",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "axes.unicode_minus": True,
}
WIDTH = 3.9
"""Inches of every plot."""


def end_labels(
    axes: Axes, ends: Mapping[str, tuple[float, str]], *, at: float, gap_share: float
) -> None:
    """Writes labels next to the (height, colour) where lines end, pushed apart upwards."""
    low, high = axes.get_ylim()
    gap = (high - low) * gap_share
    last = float("-inf")
    for label, (value, colour) in sorted(ends.items(), key=lambda pair: pair[1]):
        last = max(value, last + gap)
        axes.text(at, last, label, color=colour, va="center", size=8)


def draw_interval(
    axes: Axes, value: Interval, *, at: float, colour: str, vertical: bool = False
) -> None:
    """Draws a mean as a dot and its interval as a bar, `at` a place on the other axis."""
    ends, fixed = [value.low, value.high], [at, at]
    bar, dot = ((fixed, ends), (at, value.mean)) if vertical else ((ends, fixed), (value.mean, at))
    axes.plot(*bar, color=colour, linewidth=1.3, solid_capstyle="butt", alpha=0.75)
    axes.plot(*dot, "o", color=colour, markersize=4.2, markeredgewidth=0)


def line_with_intervals(
    axes: Axes,
    points: Sequence[tuple[float, Interval]],
    *,
    colour: str,
    width: float,
    style: object = "-",
    bars: bool = True,
) -> None:
    """Draws means over places as a line, with an interval or only a dot at each place.

    Args:
        axes: Where to draw.
        points: Place on the horizontal axis and value.
        colour: Of line and intervals.
        width: Of the line, points.
        style: Dashes of the line, as matplotlib takes them.
        bars: Draw the intervals; dots stand alone otherwise.
    """
    places, means = [place for place, _ in points], [value.mean for _, value in points]
    axes.plot(places, means, color=colour, linewidth=width, linestyle=style)
    for place, value in points if bars else ():
        draw_interval(axes, value, at=place, colour=colour, vertical=True)
    if not bars:
        axes.plot(places, means, "o", color=colour, markersize=3.0)


def label_axes(
    axes: Axes,
    ticks: Mapping[float, str],
    *,
    span: tuple[float, float],
    xlabel: str,
    ylabel: str,
) -> None:
    """Names the axes and the places of the horizontal one.

    Args:
        axes: What to label.
        ticks: Place -> its label.
        span: Ends of the horizontal axis; room on the right is for the labels of lines.
        xlabel: Name of the horizontal axis.
        ylabel: Name of the vertical axis.
    """
    axes.set_xlim(*span)
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)


@contextmanager
def inline_figure(*, height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure of `height` inches in the house style, without pyplot's global state."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield figure, figure.add_subplot()


def inline_svg(figure: Figure, *, name: str) -> str:
    """Returns the figure as SVG to stand inside HTML: no prolog, own ids, the page's colours."""
    from matplotlib import rcParams

    rcParams["svg.hashsalt"] = name
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace("<svg", '<svg role="img"', 1)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    for stand_in, variable in _VARIABLES.items():
        text = text.replace(stand_in, variable)
    return text


COLOURS: dict[Noise | None, str] = {"shop": ACCENT, "shared": SECOND, None: MUTED}
