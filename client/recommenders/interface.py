"""The one interface of all recommenders: an evaluation asks for many users, a service for one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from client.recommenders.queries import Floats, History, Queries
from client.recommenders.tables.item_scores import ItemScores
from shared.interactions.events import Events

Scores = Floats
"""Scores of candidates, `(n_queries, n_candidates)`."""


@dataclass(frozen=True, eq=False)
class QueryContext:
    """What one query knows, summed up; items are rows of the item table.

    Attributes:
        items: Distinct items of the context, ascending, `(m,)`.
        counts: What each counts in co-purchase, as a row of `History.rows`, `(m,)`.
        latest: What each counts by its latest event alone, `(m,)`.
        text: Mean vector of the context with the text profile's weights, `(d,)`.
        profile: Mean vector of the context with the adapter's weights, `(d,)`.
        own_items: Distinct items of the user's own history, ascending, `(o,)`.
        own_visits: What each counts in own frequency, `(o,)`.
        co_purchase: Profile by the federation's co-purchase vectors, `(r,)`; empty without them.
    """

    items: npt.NDArray[np.int32]
    counts: Floats
    latest: Floats
    text: Floats
    profile: Floats
    own_items: npt.NDArray[np.int32]
    own_visits: Floats
    co_purchase: Floats = field(default_factory=lambda: np.zeros(0, dtype=np.float32))


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


class ServedRecommender(Recommender, Protocol):
    """A recommender that a service can ask for one user at a time."""

    def add_events(self, new: Events, *, known: History) -> Self:
        """Learns from new events, as a fit on all that is known then would.

        Args:
            new: Events, each after all that its user did before.
            known: All that the shop knows, `new` included.
        """
        ...

    def answer(self, context: QueryContext) -> ItemScores:
        """Scores all items for one query, as `score` does up to a constant."""
        ...

    def explain(self, context: QueryContext, item: int) -> list[float]:
        """Returns what each item of the context adds to an item's score; empty for none."""
        ...
