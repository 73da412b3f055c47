"""What is measured, against which bound."""

from __future__ import annotations

from dataclasses import dataclass


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
