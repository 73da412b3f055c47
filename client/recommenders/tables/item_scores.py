"""The kinds of scores over items: the same for all, about few items, a direction, or the last two.

Each can tell its sum and its squares over all items and its values at some items without writing
down all its values, so that an answer costs one product of the item vectors with one direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from client.recommenders.tables.item_vectors import ItemVectors

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.signedinteger]


class ItemScores(Protocol):
    """One score for each item."""

    def sums(self, vectors: ItemVectors) -> tuple[float, float]:
        """Returns the sum over all items, and that of the squares."""
        ...

    def at(self, rows: Rows, vectors: ItemVectors) -> Floats:
        """Returns the scores of some items, `(len(rows),)`."""
        ...

    def dense(self, vectors: ItemVectors) -> Floats:
        """Returns the scores of all items, `(n_items,)`; not to be written to."""
        ...


@dataclass(frozen=True, eq=False)
class DenseScores:
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

    def sums(self, vectors: ItemVectors) -> tuple[float, float]:  # noqa: ARG002  # see ItemScores
        """Returns the sum over all items, and that of the squares."""
        return self.total, self.squares

    def at(self, rows: Rows, vectors: ItemVectors) -> Floats:  # noqa: ARG002
        """Returns the scores of some items."""
        scores: Floats = self.values[rows]
        return scores

    def dense(self, vectors: ItemVectors) -> Floats:  # noqa: ARG002
        """Returns the scores of all items."""
        return self.values


@dataclass(frozen=True, eq=False)
class SparseScores:
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

    def dense(self, vectors: ItemVectors) -> Floats:
        """Returns the scores of all items."""
        scores = np.zeros(len(vectors), dtype=np.float32)
        scores[self.rows] = self.values
        return scores


@dataclass(frozen=True, eq=False)
class DirectionScores:
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
        scores: Floats = vectors[rows] @ self.direction
        return scores

    def dense(self, vectors: ItemVectors) -> Floats:
        """Returns the scores of all items."""
        return vectors.scores(self.direction)


@dataclass(frozen=True, eq=False)
class ProfileScores:
    """The sum of a direction and of scores about few items.

    Attributes:
        texts: The direction.
        co_purchase: The scores about few items.
    """

    texts: DirectionScores
    co_purchase: SparseScores

    def sums(self, vectors: ItemVectors) -> tuple[float, float]:
        """Returns the sum over all items, and that of the squares."""
        rows, values = self.co_purchase.rows, self.co_purchase.values
        total, squares = self.texts.sums(vectors)
        added, added_squares = self.co_purchase.sums(vectors)
        both = float(self.texts.at(rows, vectors).astype(np.float64) @ values)
        return total + added, squares + added_squares + 2.0 * both

    def at(self, rows: Rows, vectors: ItemVectors) -> Floats:
        """Returns the scores of some items."""
        scores: Floats = self.texts.at(rows, vectors) + self.co_purchase.at(rows, vectors)
        return scores

    def dense(self, vectors: ItemVectors) -> Floats:
        """Returns the scores of all items."""
        scores: Floats = self.texts.dense(vectors) + self.co_purchase.dense(vectors)
        return scores
