"""`new-shops.html`: one page about what joining gives to a new shop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simulation.new_shops.advice import kind_name
from simulation.new_shops.plots import size_plot
from simulation.new_shops.schema import NewShopsReport
from simulation.new_shops.tables import left_out_notes, method_note, surface_rows, surfaces_of
from simulation.report.html import render
from simulation.report.wording import SURFACE_NOTES
from simulation.sweep.recommendation import ASSUMES, NOISE_NAMES, TRUST, surface_name

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
        advice=[(a, kind_name((a.epsilon, a.noise))) for a in report.advice],
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
