"""Vectors of all items, and what sums over all of them come to without a pass over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
_BLOCK = 8192


@dataclass(frozen=True, eq=False)
class ItemVectors:
    """Unit or zero vectors by row of the item table.

    Attributes:
        values: `(n_items, d)`.
        total: Sum of all vectors, `(d,)`.
        gram: Sum of their outer products, `(d, d)`.
    """

    values: Floats
    total: Doubles
    gram: Doubles

    @classmethod
    def of(cls, values: Floats) -> Self:
        """Takes vectors `(n_items, d)` and sums them up."""
        values = np.ascontiguousarray(values, dtype=np.float32)
        return cls(values, *_sums(values))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return int(self.values.shape[1])

    def __getitem__(self, rows: Any) -> Floats:
        found: Floats = self.values[rows]
        return found

    def scores(self, direction: Floats) -> Floats:
        """Returns the product of each vector with a direction `(d,)`: `(n_items,)`."""
        found: Floats = self.values @ direction
        return found

    def sums(self, direction: Floats) -> tuple[float, float]:
        """Returns the sum of all scores of a direction, and of their squares."""
        wide = direction.astype(np.float64)
        return float(self.total @ wide), float(wide @ self.gram @ wide)

    def put(self, rows: npt.NDArray[np.int64], vectors: Floats, *, n_items: int) -> Self:
        """Returns vectors of `n_items` items with others in the place of some rows."""
        values = np.zeros((n_items, self.dim), dtype=np.float32)
        values[: len(self)] = self.values[:n_items]
        before, outer_before = _sums(values[rows])
        values[rows] = vectors
        after, outer = _sums(values[rows])
        total = self.total - before + after
        return type(self)(values, total, self.gram - outer_before + outer)


def _sums(values: Floats) -> tuple[Doubles, Doubles]:
    gram = np.zeros((values.shape[1], values.shape[1]))
    for first in range(0, len(values), _BLOCK):
        block = values[first : first + _BLOCK].astype(np.float64)
        gram += block.T @ block
    return values.sum(axis=0, dtype=np.float64), gram
