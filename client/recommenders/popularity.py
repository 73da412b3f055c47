"""Popularity: what most users of the shop took."""

from __future__ import annotations

from typing import Self

import numpy as np

from client.recommenders.history import History
from client.recommenders.interface import Scores
from client.surfaces import Queries


class Popularity:
    """Scores an item by the logarithm of the number of its users.

    The logarithm changes no ranking; it keeps a few staples from ruling a weighted sum.
    """

    def fit(self, history: History) -> Self:
        """Counts the users of each candidate."""
        self._scores: Scores = np.log1p(history.users_per_item).astype(np.float32)
        return self

    def score(self, queries: Queries) -> Scores:
        """Gives every query the same scores, `(q, c)`."""
        return np.tile(self._scores, (len(queries), 1))
