"""`report.html` and the page of a sweep: one file each, nothing loaded from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simulation.report import plots, tables
from simulation.report.schema import Interval, Report
from simulation.report.sweep import SweepSurface, condense, epsilon_order
from simulation.report.wording import (
    METHOD_NAMES,
    SURFACE_NAMES,
    SURFACE_NOTES,
    headline,
    listing,
    number,
    signed,
    verdict,
)
from simulation.report.write import write_file

Given = Report | Mapping[str, Any]
"""A report, or the object that `report.json` holds."""


def write_html(report: Given, path: Path) -> None:
    """Writes the page of one run.

    Raises:
        pydantic.ValidationError: `report` does not have the form of `report.json`.
        RunError: The file cannot be written.
    """
    checked = Report.model_validate(report)
    measured = checked.metrics.surfaces
    text = _render(
        "report.html",
        report=checked,
        headline=headline(checked),
        verdicts={s: verdict(c.difference) for s, c in checked.comparison.items()},
        key_figures=tables.key_figures(checked),
        tables={s: tables.result_table(methods) for s, methods in measured.items()},
        plots=_plots(checked),
        shop_table=tables.shop_table(checked),
        privacy_table=tables.privacy_table(checked),
        fusion_table=tables.fusion_table(checked),
        round_tables={label: tables.round_table(r) for label, r in checked.training.items()},
        guarantee=checked.guarantee_text.split("\n\n"),
        settings=checked.settings.model_dump(mode="json"),
        environment=checked.environment.model_dump(mode="json"),
        run_facts={
            "seconds": checked.seconds,
            "peak memory, MB": checked.peak_rss_mb,
            "files": checked.files,
        },
    )
    write_file(path, text.encode())


def write_sweep_html(reports: Sequence[Given], path: Path) -> None:
    """Writes the privacy-utility page of a sweep.

    Raises:
        pydantic.ValidationError: A report does not have the form of `report.json`.
        RunError: There is no report, or the file cannot be written.
    """
    checked = [Report.model_validate(report) for report in reports]
    surfaces = condense(checked)
    text = _render(
        "sweep.html",
        title=_sweep_title(surfaces),
        version=checked[0].fedprofile_version,
        runs=len(checked),
        seeds=len({r.settings.seed for r in checked}),
        shops=len(checked[0].privacy),
        surfaces=[_sweep_surface(name, surface) for name, surface in surfaces.items()],
    )
    write_file(path, text.encode())


def _plots(report: Report) -> dict[str, Any]:
    compared = {s: c for s, c in report.comparison.items() if c.shops}
    return {
        "methods": {
            s: plots.method_plot(m, name=f"methods-{s}") for s, m in report.metrics.surfaces.items()
        },
        "shops": {s: plots.shop_plot(c, name=f"shops-{s}") for s, c in compared.items()},
        "training": plots.training_plot(report.training, name="training")
        if any(r.round > 0 for rounds in report.training.values() for r in rounds)
        else "",
    }


def _sweep_title(surfaces: Mapping[str, SweepSurface]) -> str:
    """Names the epsilon from which on each surface earned something, and where harm was done."""
    earned, harmed = [], []
    for name, surface in surfaces.items():
        judged = {e: verdict(g) for e, g in surface.gains.items() if e is not None}
        floor = max((e for e, v in judged.items() if v != "better"), default=0.0)
        reached = [e for e in judged if e > floor]
        if reached:
            earned.append(f"{SURFACE_NAMES[name]} from epsilon {min(reached):g}")
        if "worse" in judged.values():
            harmed.append(SURFACE_NAMES[name])
    harm = f"; it did harm on {listing(harmed)}" if harmed else ""
    if not earned:
        return f"Federation did not pay: fused is not better than best local{harm}"
    return f"Federation paid on {listing(earned)}{harm}"


def _sweep_surface(name: str, surface: SweepSurface) -> dict[str, Any]:
    columns = {m: METHOD_NAMES[m] for m in (*surface.lines, *surface.curves)}
    epsilons = {e for curve in (*surface.curves.values(), surface.gains) for e in curve}
    rows = []
    for epsilon in sorted(epsilons, key=epsilon_order):
        values = [surface.lines.get(m) or surface.curves[m].get(epsilon) for m in columns]
        cells = [_sweep_cell(value) for value in values]
        rows.append(
            {
                "epsilon": "no privacy" if epsilon is None else f"{epsilon:g}",
                "cells": [*cells, _gain_cell(surface.gains.get(epsilon))],
            }
        )
    return {
        "name": name,
        "title": SURFACE_NAMES[name],
        "note": SURFACE_NOTES[name],
        "columns": [*columns.values(), "Fused minus best local"],
        "rows": rows,
        "privacy_plot": plots.privacy_plot(surface, name=f"privacy-{name}"),
        "gain_plot": plots.gain_plot(surface, name=f"gain-{name}") if surface.gains else "",
    }


def _sweep_cell(value: Interval | None) -> dict[str, str]:
    if value is None:
        return {"mean": "", "interval": "", "kind": ""}
    interval = f"{number(value.low)}–{number(value.high)}"  # noqa: RUF001
    return {"mean": number(value.mean), "interval": interval, "kind": ""}


def _gain_cell(gain: Interval | None) -> dict[str, str]:
    if gain is None:
        return {"mean": "", "interval": "", "kind": ""}
    kind = {"better": "up", "worse": "down", "no-better": ""}[verdict(gain)]
    interval = f"{signed(gain.low)} to {signed(gain.high)}"
    return {"mean": signed(gain.mean), "interval": interval, "kind": kind}


def _render(template: str, **values: Any) -> str:
    """Fills a template of this folder; everything but the plots is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {
        "plain": tables.plain,
        "metric_name": tables.METRIC_NAMES.__getitem__,
        "is_table": _is_table,
        "columns": _columns,
    }
    names = {"surface_names": SURFACE_NAMES, "surface_notes": SURFACE_NOTES}
    return environment.get_template(template).render(method_names=METHOD_NAMES, **names, **values)


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
