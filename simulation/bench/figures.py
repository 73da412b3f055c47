"""What is measured, against which bound, and how it is written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.environment import Environment


@dataclass(frozen=True)
class Figure:
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


def page(figures: Sequence[Figure], environment: Environment) -> str:
    """Returns `docs/benchmarks.md`: the machine, then one row a figure."""
    rows = [
        f"| {f.name} | {f.value:.3g} {f.unit} | {f.bound:g} {f.unit} | "
        f"{'yes' if f.is_met else '**no**'} | {f.note} |"
        for f in figures
    ]
    machine = (
        f"{environment.cpu}, {environment.cores} cores, {environment.memory_mb / 1000:.0f} GB; "
        f"{environment.os}; Python {environment.python}; torch "
        f"{environment.packages.get('torch', '?')}; commit {environment.git_commit or '?'}"
    )
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Written by `make bench`, which measures everything below on the machine it runs on.",
            "Recommendation quality is in [quality.md](quality.md).",
            "",
            f"Machine: {machine}.",
            "",
            "| Figure | Measured | Bound | Met | How, and what limits it |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
