"""The one interface of all recommenders, and the two simplest: popularity and own frequency."""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np

from client.recommenders.defaults import VISIT_HALF_LIFE
from client.recommenders.queries import Floats, History, Queries

Scores = Floats
"""Scores of candidates, `(n_queries, n_candidates)`."""


class Recommender(Protocol):
    """Learns from a shop's history and scores its candidates."""

    def fit(self, history: History) -> Self:
        """Learns from all that the shop knows and returns itself."""
        ...

    def score(self, queries: Queries) -> Scores:
        """Scores all candidates of all queries, `(q, c)`: finite, higher is better.

        The candidates of `queries` must be those of the history that it was fitted on.
        """
        ...


class Popularity:
    """Scores an item by the logarithm of the number of its users.

    The logarithm changes no ranking; without it a few staples would decide every weighted sum.
    """

    def fit(self, history: History) -> Self:
        """Counts the users of each candidate."""
        self._scores: Scores = np.log1p(history.users_per_item).astype(np.float32)
        return self

    def score(self, queries: Queries) -> Scores:
        """Returns the same scores for every query, `(q, c)`."""
        return np.tile(self._scores, (len(queries), 1))


class OwnFrequency:
    """Scores an item by the user's own visits that took it, each halved every `half_life`.

    Uses `Queries.own`, so it knows the user's history also where a cart is the context.

    Attributes:
        half_life: In the unit of `Events.time`.
    """

    def __init__(self, half_life: float = VISIT_HALF_LIFE["days"]) -> None:
        self.half_life = half_life

    def fit(self, history: History) -> Self:
        """Has nothing to learn from other users."""
        del history
        return self

    def score(self, queries: Queries) -> Scores:
        """Adds up the user's decayed visits, on a logarithmic scale, `(q, c)`."""
        return queries.own.rows("visits", self.half_life)
