"""`sweep.html`: one page about a whole sweep, nothing loaded from anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simulation.report.html import render
from simulation.report.tables import duration
from simulation.report.wording import SURFACE_NOTES, number, signed
from simulation.sweep import plots
from simulation.sweep.recommendation import ASSUMES, NOISE_NAMES, surface_name
from simulation.sweep.schema import SurfaceSweep, SweepReport
from simulation.sweep.tables import cost_rows, lost_rows, method_note, surface_rows


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
        "Quality": plots.quality_plot(surface, name=f"quality-{name}"),
        "Earned by joining": plots.gain_plot(surface, name=f"gain-{name}"),
        "Headroom recovered": plots.recovered_plot(surface, name=f"recovered-{name}"),
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
