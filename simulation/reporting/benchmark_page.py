"""`docs/benchmarks.md`: what is measured against which bound, a section a group.

Each with the commit and the machine it was measured on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shared.runtime.environment import Environment


@dataclass(frozen=True)
class BenchmarkFigure:
    """One measured figure.

    Attributes:
        name: What was measured.
        value: The measured value.
        bound: What it should not exceed.
        unit: Of both.
        note: What was done, or what limits it.
    """

    name: str
    value: float
    bound: float
    unit: str
    note: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the value is within its bound."""
        return self.value <= self.bound


PAGE_START = """\
# Benchmarks

Written by `make bench`, which measures each group on the machine it runs on. One group alone:
`make bench ARGS="--only ledger"`; the others keep their lines and the commit they were measured at.
Recommendation quality is in [quality.md](quality.md).
"""
TABLE = """\
| Figure | Measured | Bound | Met | How, and what limits it |
|---|---|---|---|---|
"""


def section(figures: Sequence[BenchmarkFigure], environment: Environment) -> str:
    """Returns what is written below a group's heading.

    Args:
        figures: Of the group.
        environment: Where they were measured.
    """
    rows = [
        f"| {f.name} | {f.value:.3g} {f.unit} | {f.bound:g} {f.unit} | "
        f"{'yes' if f.is_met else '**no**'} | {f.note} |\n"
        for f in figures
    ]
    return f"{_measured_at(environment)}\n\n{TABLE}{''.join(rows)}"


def merged(old: str, measured: dict[str, str], *, order: Iterable[str]) -> str:
    """Returns the page with sections replaced.

    Args:
        old: The page so far; empty for none.
        measured: Group -> its new section.
        order: All groups that exist; a section of another is dropped.
    """
    by_group = {**sections(old), **measured}
    body = [f"\n## {group}\n\n{by_group[group]}" for group in order if group in by_group]
    return PAGE_START + "".join(body)


def sections(page: str) -> dict[str, str]:
    """Returns the page's sections by group."""
    parts = re.split(r"^## (.+)\n\n", page, flags=re.MULTILINE)[1:]
    return {
        group: text.rstrip("\n") + "\n" for group, text in zip(parts[::2], parts[1::2], strict=True)
    }


def _measured_at(environment: Environment) -> str:
    packages = environment.packages
    return (
        f"Commit {environment.git_commit or '?'}; {environment.cpu}, {environment.cores} cores, "
        f"{environment.memory_mb / 1000:.0f} GB; {environment.os}; Python {environment.python}; "
        f"torch {packages.get('torch', '?')}."
    )
