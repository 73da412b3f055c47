"""The one interface of all recommenders of a shop."""

from __future__ import annotations

from typing import Protocol, Self

from client.recommenders.history import Floats, History
from client.surfaces import Queries

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
