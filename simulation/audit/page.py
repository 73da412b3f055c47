"""The audit on one page: `audit.html`, `audit.json`, and the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from simulation.audit import plots
from simulation.audit.result import AuditResult
from simulation.report.write import write_file

CURVES = {
    "training-noise": "Training steps",
    "counts-noise": "Item counts",
    "pairs-noise": "Pair sums",
}
"""Checks with a measured curve -> caption."""


def write_audit(result: AuditResult, folder: Path) -> dict[str, Path]:
    """Writes `audit.json` and `audit.html`; older ones are replaced.

    Returns:
        What was written.

    Raises:
        RunError: A file cannot be written.
    """
    files = {"JSON": folder / "audit.json", "page": folder / "audit.html"}
    write_file(files["JSON"], result.to_json().encode())
    write_file(files["page"], audit_html(result).encode())
    return files


def audit_html(result: AuditResult) -> str:
    """Returns the page, with nothing to load from anywhere."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader([here, here.parent / "report"]),
        autoescape=True,
        undefined=StrictUndefined,
    )
    environment.filters["figure"] = _figure
    return environment.get_template("audit.html").render(
        result=result, headline=headline(result), curves=_curves(result), bounds=_bounds(result)
    )


def headline(result: AuditResult) -> str:
    """Says in one sentence how the audit ended."""
    failed = [check for check in result.checks if not check.passed]
    if failed:
        names = ", ".join(check.name for check in failed)
        return f"{len(failed)} of {len(result.checks)} checks failed: {names}"
    return f"All {len(result.checks)} checks passed"


def claim(result: AuditResult) -> str:
    """Says in one sentence what was audited."""
    parts = "; ".join(
        f"{m.name}: {m.steps} x noise {m.noise_multiplier:.4g} at rate {m.sample_rate:g}"
        for m in result.mechanisms
    )
    return f"epsilon {result.epsilon:.4g} at delta {result.delta:g} a shop ({parts})"


def print_audit(result: AuditResult, *, files: Mapping[str, Path], console: Console) -> None:
    """Prints all findings on one page."""
    console.print(f"[bold]Audit[/] of {escape(claim(result))}\n", highlight=False)
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("finding")
    table.add_column("time", justify="right", style="dim", no_wrap=True)
    for check in result.checks:
        mark = "[green]ok[/]" if check.passed else "[bold red]FAIL[/]"
        finding = escape(check.finding)
        text = f"{escape(check.question)}\n[dim]{finding}[/]"
        if not check.passed:
            text = f"{escape(check.question)}\n[red]{finding}[/]"
        table.add_row(mark, check.name, text, f"{check.seconds:.1f} s")
    console.print(table)
    colour = "green" if result.passed else "red"
    console.print(f"\n[bold {colour}]{escape(headline(result))}[/] ({result.seconds:.0f} s)")
    if result.passed:
        console.print("[dim]That no fault was found proves no guarantee: see docs/audit.md.[/]")
    for what, path in files.items():
        console.print(f"{escape(what)}: {escape(str(path))}", soft_wrap=True)


def _curves(result: AuditResult) -> dict[str, str]:
    found = {}
    for name, caption in CURVES.items():
        check = result.check(name)
        if check is not None and "curve" in check.figures:
            found[caption] = plots.curve_plot(check.figures, name=name)
    return found


def _bounds(result: AuditResult) -> str:
    check = result.check("one-run")
    if check is None or "epsilon_low" not in check.figures:
        return ""
    return plots.bounds_plot(check.figures, name="one-run")


def _figure(value: Any) -> str:
    """Formats one plain value of a check's figures."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_figure(v)}" for key, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_figure(v) for v in value)
    return str(value)
