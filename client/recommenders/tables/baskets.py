"""What is bought together: items of one basket, counted for one item at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
SHRINK = 10.0
"""Baskets that are added to an item's own: a pair that rests on one basket says little."""
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)
"""Odd factors that spread users, baskets and items over 64 bits (xxHash's primes)."""


@dataclass(frozen=True, eq=False)
class BasketItems:
    """Items that lay in baskets, one row an event that says that a user has the item.

    Attributes:
        user: Who, `(n,)`.
        basket: Which of the user's baskets, `(n,)`; see `of`.
        item: `(n,)`.
    """

    user: Ints
    basket: Ints
    item: Ints

    @staticmethod
    def of(
        user: npt.NDArray[np.integer],
        item: npt.NDArray[np.integer],
        *,
        session: Ints,
        time: npt.NDArray[np.float64],
        taken: npt.NDArray[np.bool_],
        time_unit: str,
    ) -> BasketItems:
        """Leaves out events that say no more than interest, and those of no basket.

        A visit is a basket. Where an event has none, all of its user and day are one; in data
        ordered by rank it is of no basket.
        """
        basket = np.where(session >= 0, session, -2 - np.floor(time).astype(np.int64))
        use = taken if time_unit == "days" else taken & (session >= 0)
        return BasketItems(user[use].astype(np.int64), basket[use], item[use].astype(np.int64))

    def distinct(self) -> BasketItems:
        """Returns each item of a basket once."""
        _, first = np.unique(self._hashes(self.item), return_index=True)
        return self._select(first)

    @staticmethod
    def join(parts: Sequence[BasketItems]) -> BasketItems:
        """Puts the baskets of different users together."""
        names = ("user", "basket", "item")
        none = np.zeros(0, dtype=np.int64)
        columns = ([none, *(getattr(part, name) for part in parts)] for name in names)
        return BasketItems(*map(np.concatenate, columns))

    @property
    def n_baskets(self) -> int:
        """How many different baskets there are."""
        return len(np.unique(self._hashes(np.zeros_like(self.item))))

    def counts(self, n_items: int) -> Ints:
        """Returns in how many baskets each item lies, `(n_items,)`, for `distinct` ones."""
        return np.bincount(self.item, minlength=n_items)

    def with_item(self, item: int, n_items: int) -> Ints:
        """Counts the baskets that hold an item and each other one, `(n_items,)`.

        The item's own place has the number of its baskets.
        """
        baskets = self._hashes(np.zeros_like(self.item))
        held = np.unique(baskets[self.item == item])
        return self._select(np.flatnonzero(np.isin(baskets, held))).distinct().counts(n_items)

    def _hashes(self, item: Ints) -> npt.NDArray[np.uint64]:
        columns = (self.user, self.basket, item)
        hashes = np.zeros(len(self.user), dtype=np.uint64)
        for column, factor in zip(columns, _MIX, strict=True):
            hashes = (hashes ^ column.view(np.uint64)) * factor
            hashes ^= hashes >> np.uint64(29)
        return hashes

    def _select(self, rows: npt.NDArray[np.intp]) -> BasketItems:
        return BasketItems(self.user[rows], self.basket[rows], self.item[rows])


def lift(together: Ints, counts: Ints, item: int, n_baskets: int) -> npt.NDArray[np.float32]:
    """Returns how much more often items lie in an item's baskets than in any, shrunk, `(n_items,)`.

    `n_ij N / ((n_i + s) (n_j + s))` with `s` baskets of `SHRINK` (lift: Brin et al.,
    https://doi.org/10.1145/253260.253325); 0 for the item itself.

    Args:
        together: Baskets with both, the item's own at its place, `(n_items,)`.
        counts: Baskets of each item, `(n_items,)`.
        item: The item.
        n_baskets: All baskets with an item.
    """
    scores = together * float(n_baskets) / ((together[item] + SHRINK) * (counts + SHRINK))
    scores[item] = 0.0
    narrow: npt.NDArray[np.float32] = scores.astype(np.float32)
    return narrow
