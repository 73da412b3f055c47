"""`new-shops.html` and `new-shops.json`.

One page about what joining gives to a new shop, its plot, and the file behind it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulation.experiments.new_shops.schema import NewShopsReport
from simulation.experiments.new_shops.tables import (
    left_out_notes,
    method_note,
    surface_rows,
    surfaces_of,
)
from simulation.reporting.page import (
    COLOURS,
    INK,
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
    TRUST,
    Noise,
    kind_name,
    surface_name,
)

if TYPE_CHECKING:
    pass


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
        for alone, style, width in ((text, (0, (1, 2)), 1.5), (local, "-", 2.2)):
            points = [(place[n], value) for n, value in alone.items()]
            line_with_intervals(axes, points, colour=INK, style=style, width=width, bars=False)
        last = max(records)
        ends |= {"best local": (local[last].mean, INK), "text": (text[last].mean, INK)}
        for i, facts in enumerate(report.groups):
            line = {n: r.groups[i].methods["fused"] for n, r in records.items()}
            shift = _SPREAD * ((i + 0.5) / len(report.groups) - 0.5)
            colour = COLOURS[facts.noise]
            points = [(place[n] + shift, value) for n, value in line.items()]
            line_with_intervals(axes, points, colour=colour, style=styles[i], width=1.5)
            ends[_label(facts.epsilon, facts.noise)] = (line[last].mean, colour)
        room = 0.42 * max(1.0, place[last])
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.03 * len(ends) * (high - low))  # labels are pushed upwards
        end_labels(axes, ends, at=place[last] + _SPREAD / 2 + 0.08, gap_share=0.055)
        label_axes(
            axes,
            {x: f"{size}" for size, x in place.items()},
            span=(-0.25, place[last] + _SPREAD + room),
            xlabel="users of its own",
            ylabel=f"NDCG@10, {surface_name(surface)}",
        )
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


ITEMS_APART = (
    "These shops share no item: each sells a catalogue of its own, so what was learnt of single "
    "items and pairs says nothing about a new shop's items, and only text carries over."
)


def new_shops_page(report: NewShopsReport) -> str:
    """Returns the text of the page."""
    noises = list(dict.fromkeys(group.noise for group in report.groups))
    return render(
        "new-shops.html",
        folder=Path(__file__).parent,
        report=report,
        measured=max((len(size.shops) for size in report.sizes.values()), default=0),
        advice=[(a, kind_name(a.epsilon, a.noise)) for a in report.advice],
        kinds={noise or "none": NOISE_NAMES[noise] for noise in noises},
        trust=[TRUST[noise] for noise in noises],
        assumes=ASSUMES if "shared" in noises else "",
        apart="" if report.shops_share_items else ITEMS_APART,
        surfaces=[_surface(report, surface) for surface in surfaces_of(report)],
        left_out=left_out_notes(report),
        note=method_note(report),
    )


def _surface(report: NewShopsReport, surface: str) -> dict[str, Any]:
    rows = surface_rows(report, surface)
    return {
        "name": surface,
        "title": surface_name(surface),
        "note": SURFACE_NOTES.get(surface, ""),
        "users": max(
            r.surfaces[surface].users for r in report.sizes.values() if surface in r.surfaces
        ),
        "plot": size_plot(report, surface, name=f"sizes-{surface}"),
        "rows": rows,
        "has_pairs": any(row.pairs for row in rows),
    }


STEM = "new-shops"
"""Name of page and JSON."""


def write_new_shops(report: NewShopsReport, folder: Path) -> None:
    """Writes `new-shops.html` and, last, `new-shops.json`.

    Raises:
        StorageError: A file cannot be written.
    """
    write_page(folder, STEM, html=new_shops_page(report), json=report.to_json())
