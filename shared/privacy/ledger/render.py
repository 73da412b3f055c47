"""A privacy statement as Markdown and as one HTML page that loads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from shared.privacy.ledger.report import of_the_sum

Statement = Mapping[str, Any]
RUN_COLUMNS = ["Time", "Run", "Planning", "Released", "Rounds", "Epsilon after", "Check"]


def to_markdown(statements: Sequence[Statement]) -> str:
    """Writes statements of shops, from `report.statement`, as Markdown."""
    return "\n".join(_one_markdown(statement) for statement in statements)


def to_html(statements: Sequence[Statement]) -> str:
    """Writes statements of shops, from `report.statement`, as a page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    environment.filters.update(plain=plain, cells=run_row)
    page = environment.get_template("statement.html")
    return page.render(statements=statements, columns=RUN_COLUMNS)


def plain(value: object) -> str:
    """Writes a value of a statement as text."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return "; ".join(plain(entry) for entry in value)
    return str(value)


def flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Returns dotted names and texts of nested values, in order."""
    rows: list[tuple[str, str]] = []
    for name, entry in value.items():
        if isinstance(entry, Mapping):
            rows += flat(entry, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, plain(entry)))
    return rows


def _one_markdown(statement: Statement) -> str:
    verification = statement["verification"]
    verdict = "holds" if verification["ok"] else f"FAILS: {verification['fault']}"
    parts = [
        f"# Privacy statement: {_cell(statement['shop'])}",
        statement["guarantee"],
        f"The ledger of {verification['lines']} lines {verdict}.",
        "## What is claimed",
        _table(["Question", "Answer"], flat(statement["nist_sp_800_226"])),
        "## Runs",
        _table(RUN_COLUMNS, [run_row(run) for run in statement["runs"]]),
        "## Record for the public registry of deployments",
        _table(["Field", "Value"], flat(statement["registry"])),
        "## Verification",
        *(f"- checked: {text}" for text in verification["checked"]),
        *(f"- not checked: {text}" for text in verification["unchecked"]),
    ]
    return "\n\n".join(parts) + "\n"


def run_row(run: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns a run's cells in the order of `RUN_COLUMNS`."""
    released = "; ".join(
        f"{m['name']} {m['steps']} x noise {m['noise_multiplier']:g}, rate {m['sample_rate']:g}, "
        f"norm {m['max_norm']:g}{of_the_sum(m)}"
        for m in run["mechanisms"]
    )
    return (
        run["time"],
        run["run"],
        run["planning"],
        released,
        str(run["rounds"]),
        f"{run['epsilon_after']:.4f}",
        f"{run['epsilon_check']:.4f}",
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
