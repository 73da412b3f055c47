"""The audit on one page with its plots: `audit.html`, `audit.json`, and the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column

from simulation.audit.checks.result import AuditResult, Check
from simulation.reporting.page import (
    ACCENT,
    INK,
    MUTED,
    inline_figure,
    inline_svg,
    render,
    write_page,
)
from simulation.reporting.terminal import Row, left, plain_table

Figures = Mapping[str, Any]


def bounds_plot(figures: Figures, *, name: str) -> str:
    """Draws the lower bounds of one run beside the claimed epsilon."""
    rows = {
        "claimed": (figures["epsilon_claimed"], INK),
        "at least, f-DP": (figures["epsilon_low"], ACCENT),
        "at least, (epsilon, delta)": (figures["epsilon_low_steinke"], MUTED),
    }
    with inline_figure(height=1.25) as (figure, axes):
        for row, (value, colour) in enumerate(reversed(rows.values())):
            axes.barh(row, value, height=0.5, color=colour, alpha=0.85, linewidth=0)
            axes.text(value, row, f" {value:.2f}", color=colour, va="center", size=8)
        axes.set_yticks(range(len(rows)), list(reversed(rows)))
        axes.grid(axis="y", visible=False)
        axes.set_xlim(0, 1.15 * max(value for value, _ in rows.values()))
        axes.set_xlabel("epsilon")
        return inline_svg(figure, name=name)


def write_audit(result: AuditResult, folder: Path) -> dict[str, Path]:
    """Writes `audit.json` and `audit.html`; older ones are replaced.

    Returns:
        What was written.

    Raises:
        RunError: A file cannot be written.
    """
    return write_page(folder, "audit", html=audit_html(result), json=result.to_json())


def audit_html(result: AuditResult) -> str:
    """Returns the page, with nothing to load from anywhere."""
    return render(
        "audit.html",
        folder=Path(__file__).parent,
        result=result,
        headline=headline(result),
        bounds=_bounds(result),
        figure=_figure,
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
    time = Column("time", justify="right", style="dim", no_wrap=True)
    columns = (left(""), left("check"), Column("finding"), time)
    console.print(plain_table(columns, map(_row, result.checks)))
    colour = "green" if result.passed else "red"
    console.print(f"\n[bold {colour}]{escape(headline(result))}[/] ({result.seconds:.0f} s)")
    if result.passed:
        console.print("[dim]That no fault was found proves no guarantee: see docs/audit.md.[/]")
    for what, path in files.items():
        console.print(f"{escape(what)}: {escape(str(path))}", soft_wrap=True)


def _row(check: Check) -> Row:
    mark, style = ("[green]ok[/]", "dim") if check.passed else ("[bold red]FAIL[/]", "red")
    text = f"{escape(check.question)}\n[{style}]{escape(check.finding)}[/]"
    return (mark, check.name, text, f"{check.seconds:.1f} s"), ""


def _bounds(result: AuditResult) -> str:
    check = result.check("one-run")
    if check is None or "epsilon_low" not in check.figures:
        return ""
    return bounds_plot(check.figures, name="one-run")


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
