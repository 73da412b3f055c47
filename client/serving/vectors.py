"""Vectors of all items, and what sums over all of them come to without a pass over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from client.serving.codes import Codes

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
_BLOCK = 8192


@dataclass(frozen=True, eq=False)
class ItemVectors:
    """Unit or zero vectors by row of the item table.

    Rounded products name the items that can be among the best, exact ones rank them. With int8
    alone there are no exact ones: an item takes a quarter of the memory, and a score is rounded.

    Attributes:
        values: `(n_items, d)`; None with int8 alone.
        codes: The same in one byte a number.
        total: Sum of all vectors, `(d,)`.
        gram: Sum of their outer products, `(d, d)`.
    """

    values: Floats | None
    codes: Codes
    total: Doubles
    gram: Doubles

    @classmethod
    def of(cls, values: Floats, *, int8: bool = False) -> Self:
        """Takes vectors `(n_items, d)` and sums them up."""
        values = np.ascontiguousarray(values, dtype=np.float32)
        codes = Codes.of(values)
        kept = codes[:] if int8 else values
        return cls(None if int8 else values, codes, *_sums(kept))

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return int(self.codes.codes.shape[1])

    def __getitem__(self, rows: Any) -> Floats:
        found: Floats = self.codes[rows] if self.values is None else self.values[rows]
        return found

    def scores(self, direction: Floats) -> Floats:
        """Returns the product of each vector with a direction `(d,)`: `(n_items,)`."""
        if self.values is None:
            return self.codes.scores(direction)[0]
        found: Floats = self.values @ direction
        return found

    def rough(self, direction: Floats) -> tuple[Floats, float]:
        """Returns products that are quick to have, and how far off one can be at most.

        With int8 alone they are all there is, and the bound is 0.
        """
        found, slack = self.codes.scores(direction)
        return found, 0.0 if self.values is None else slack

    def sums(self, direction: Floats) -> tuple[float, float]:
        """Returns the sum of all scores of a direction, and of their squares."""
        wide = direction.astype(np.float64)
        return float(self.total @ wide), float(wide @ self.gram @ wide)

    def put(self, rows: npt.NDArray[np.int64], vectors: Floats, *, n_items: int) -> Self:
        """Returns vectors of `n_items` items with others in the place of some rows.

        Args:
            rows: Rows to replace, `(n,)`; of one that is there twice the last counts.
            vectors: In their place, `(n, d)`.
            n_items: Rows afterwards.
        """
        rows, places = _last_of_each(rows)
        vectors = vectors[places]
        known = rows[rows < len(self)]
        before, outer_before = _sums(self[known])
        codes = self.codes.put(rows, vectors, n_items=n_items)
        values = None
        if self.values is not None:
            values = np.zeros((n_items, self.dim), dtype=np.float32)
            values[: len(self)] = self.values[:n_items]
            values[rows] = vectors
        after, outer = _sums(codes[rows] if values is None else values[rows])
        total = self.total - before + after
        return type(self)(values, codes, total, self.gram - outer_before + outer)


def _last_of_each(
    rows: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.intp]]:
    """Returns distinct rows and the last place of each: a row counted twice spoils the sums."""
    distinct, backwards = np.unique(rows[::-1], return_index=True)
    return distinct, len(rows) - 1 - backwards


def _sums(values: Floats) -> tuple[Doubles, Doubles]:
    gram = np.zeros((values.shape[1], values.shape[1]))
    for first in range(0, len(values), _BLOCK):
        block = values[first : first + _BLOCK].astype(np.float64)
        gram += block.T @ block
    return values.sum(axis=0, dtype=np.float64), gram
