"""What a user takes again and again."""

from __future__ import annotations

from typing import Self

from client.recommenders.interface import QueryContext, Scores
from client.recommenders.queries import History, Queries
from client.recommenders.tables.item_scores import SparseScores
from shared.interactions.events import Events


class OwnFrequency:
    """Scores an item by the user's own visits that took it, each halved every `half_life`.

    Uses `Queries.own`, so it knows the user's history also where a cart is the context.

    Attributes:
        half_life: In the unit of `Events.time`.
    """

    def __init__(self, half_life: float) -> None:
        self.half_life = half_life

    def fit(self, history: History) -> Self:
        """Has nothing to learn from other users."""
        del history
        return self

    def add_events(self, new: Events, *, known: History) -> Self:
        """Has nothing to learn from other users."""
        del new, known
        return self

    def score(self, queries: Queries) -> Scores:
        """Adds up the user's decayed visits, on a logarithmic scale, `(q, c)`."""
        return queries.own.rows("visits", self.half_life)

    def answer(self, context: QueryContext) -> SparseScores:
        """Returns the user's decayed visits, on a logarithmic scale."""
        return SparseScores(context.own_items, context.own_visits)

    def explain(self, context: QueryContext, item: int) -> list[float]:
        """Rests on the item itself alone."""
        del context, item
        return []
