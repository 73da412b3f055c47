"""`docs/benchmarks.md`: a section a group, each with the commit and the machine it was measured on.

A group that is measured again replaces its own section; the others keep their lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from shared.environment import Environment
from simulation.bench.figures import Figure

HEAD = """\
# Benchmarks

Written by `make bench`, which measures each group on the machine it runs on. One group alone:
`make bench ARGS="--only ledger"`; the others keep their lines and the commit they were measured at.
Recommendation quality is in [quality.md](quality.md).
"""
TABLE = """\
| Figure | Measured | Bound | Met | How, and what limits it |
|---|---|---|---|---|
"""


def section(figures: Sequence[Figure], environment: Environment) -> str:
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
    kept = {**sections(old), **measured}
    body = [f"\n## {group}\n\n{kept[group]}" for group in order if group in kept]
    return HEAD + "".join(body)


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
