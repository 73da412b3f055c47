"""`report.html`: one file, nothing loaded from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simulation.report import plots, tables
from simulation.report.schema import Report
from simulation.report.wording import (
    METHOD_NAMES,
    SURFACE_NAMES,
    SURFACE_NOTES,
    headline,
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
    text = render(
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
