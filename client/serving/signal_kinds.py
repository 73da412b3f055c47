"""The three kinds of signals: the same for everybody, about few items, or a direction.

Each can tell its sum and its squares over all items and its values at some items without writing
down all its values, so that an answer costs one product of the item vectors with one direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from client.serving.vectors import ItemVectors

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.signedinteger]


class Signal(Protocol):
    """One score for each item."""

    def sums(self, vectors: ItemVectors) -> tuple[float, float]:
        """Returns the sum over all items, and that of the squares."""
        ...

    def at(self, rows: Rows, vectors: ItemVectors) -> Floats:
        """Returns the scores of some items, `(len(rows),)`."""
        ...

    def whole(self, vectors: ItemVectors) -> Floats:
        """Returns the scores of all items, `(n_items,)`; not to be written to."""
        ...


@dataclass(frozen=True, eq=False)
class Fixed:
    """The same for every context.

    Attributes:
        values: `(n_items,)`.
        total: Their sum.
        squares: The sum of their squares.
    """

    values: Floats
    total: float
    squares: float

    @classmethod
    def of(cls, values: Floats) -> Self:
        """Sums the values up."""
        wide = values.astype(np.float64)
        return cls(values, float(wide.sum()), float(wide @ wide))

    def sums(self, vectors: ItemVectors) -> tuple[float, float]:  # noqa: ARG002  # see Signal
        """Returns the sum over all items, and that of the squares."""
        return self.total, self.squares

    def at(self, rows: Rows, vectors: ItemVectors) -> Floats:  # noqa: ARG002
        """Returns the scores of some items."""
        found: Floats = self.values[rows]
        return found

    def whole(self, vectors: ItemVectors) -> Floats:  # noqa: ARG002
        """Returns the scores of all items."""
        return self.values


@dataclass(frozen=True, eq=False)
class Sparse:
    """About few items; the others have 0.

    Attributes:
        rows: The items, ascending and distinct, `(m,)`.
        values: `(m,)`.
    """

    rows: Rows
    values: Floats

    def sums(self, vectors: ItemVectors) -> tuple[float, float]:  # noqa: ARG002
        """Returns the sum over all items, and that of the squares."""
        return float(self.values.sum()), float(self.values @ self.values)

    def at(self, rows: Rows, vectors: ItemVectors) -> Floats:  # noqa: ARG002
        """Returns the scores of some items."""
        if not len(self.rows):
            return np.zeros(len(rows), dtype=np.float32)
        place = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        return np.where(self.rows[place] == rows, self.values[place], np.float32(0.0))

    def whole(self, vectors: ItemVectors) -> Floats:
        """Returns the scores of all items."""
        found = np.zeros(len(vectors), dtype=np.float32)
        found[self.rows] = self.values
        return found


@dataclass(frozen=True, eq=False)
class Toward:
    """The product of each item's vector with a direction.

    Attributes:
        direction: `(d,)`.
    """

    direction: Floats

    def sums(self, vectors: ItemVectors) -> tuple[float, float]:
        """Returns the sum over all items, and that of the squares."""
        return vectors.sums(self.direction)

    def at(self, rows: Rows, vectors: ItemVectors) -> Floats:
        """Returns the scores of some items."""
        found: Floats = vectors[rows] @ self.direction
        return found

    def whole(self, vectors: ItemVectors) -> Floats:
        """Returns the scores of all items."""
        return vectors.scores(self.direction)
