"""Plots as inline SVG that takes its colours and fonts from the page, light or dark.

Matplotlib draws with stand-in colours, which are then replaced by the page's CSS variables.
Every plot is narrow, so that a phone shows it at its natural size.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from simulation.report.schema import Comparison, Interval, Methods, Round, RunLabel
from simulation.report.wording import METHOD_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
COMPARED = ("popularity", "best-local", "global", "fused", "fused-non-private", "pooled")
"""Methods that the plot of a surface shows; the table has them all."""
WIDTH = 3.9
"""Inches of every plot."""


def method_plot(methods: Methods, *, name: str) -> str:
    """Draws NDCG@10 of the main methods with their intervals, one row each.

    Args:
        methods: Method -> metric -> interval of one surface.
        name: Unique name of the plot in its page.
    """
    shown = [m for m in reversed(COMPARED) if "ndcg@10" in methods.get(m, {})]
    with inline_figure(height=0.55 + 0.27 * len(shown)) as (figure, axes):
        for row, method in enumerate(shown):
            colour = ACCENT if method == "fused" else INK if method == "best-local" else MUTED
            draw_interval(axes, methods[method]["ndcg@10"], at=row, colour=colour)
        if "best-local" in shown:
            mean = methods["best-local"]["ndcg@10"].mean
            axes.axvline(mean, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
        _rows(axes, [METHOD_NAMES[m] for m in shown])
        axes.set_xlabel("NDCG@10")
        return inline_svg(figure, name=name)


def shop_plot(comparison: Comparison, *, name: str) -> str:
    """Draws fused minus best local of each shop, largest gain on top, and of all users."""
    shops = sorted(comparison.shops.items(), key=lambda pair: (pair[1].mean, pair[0]))
    labels = [shop for shop, _ in shops]
    with inline_figure(height=0.75 + 0.165 * (len(shops) + 1)) as (figure, axes):
        for row, (_, gain) in enumerate(shops):
            colour = ACCENT if gain.low > 0 else WARN if gain.high < 0 else MUTED
            draw_interval(axes, gain, at=row, colour=colour)
        draw_interval(axes, comparison.difference, at=len(shops), colour=INK)
        axes.axvline(0.0, color=MUTED, linewidth=0.8)
        _rows(axes, [*labels, "all users"])
        axes.tick_params(axis="y", labelsize=7.5)
        axes.set_xlabel("NDCG@10, fused minus best local")
        return inline_svg(figure, name=name)


def training_plot(runs: Mapping[RunLabel, Sequence[Round]], *, name: str) -> str:
    """Draws the norm of the aggregated update by round, one line a model."""
    trained = {label: [r for r in rounds if r.round > 0] for label, rounds in runs.items()}
    longest = max(len(rounds) for rounds in trained.values())
    ends: dict[str, tuple[float, str]] = {}
    with inline_figure(height=2.1) as (figure, axes):
        for label, rounds in trained.items():
            colour = ACCENT if label == "private" else SECOND
            norms = [r.update_norm for r in rounds]
            axes.plot([r.round for r in rounds], norms, color=colour, linewidth=1.6)
            ends |= {label: (norms[-1], colour)} if norms else {}
        axes.set_ylim(bottom=0.0)
        axes.set_xlim(1 - 0.03 * longest, longest * 1.3)
        axes.set_xticks(sorted({1 + round(i * (longest - 1) / 7) for i in range(8)}))
        end_labels(axes, ends, at=longest * 1.03, gap_share=0.09)
        axes.set_xlabel("round")
        axes.set_ylabel("norm of the mean update")
        return inline_svg(figure, name=name)


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


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=5)


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
