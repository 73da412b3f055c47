"""Own frequency: what the user took often and lately."""

from __future__ import annotations

from typing import Self

from client.recommenders.history import History
from client.recommenders.interface import Scores
from client.surfaces import Queries


class OwnFrequency:
    """Scores an item by the user's own visits that took it, each halved every `half_life`.

    Uses `Queries.own`, so it knows the user's history also where a cart is the context.

    Attributes:
        half_life: In the unit of `Events.time`.
    """

    def __init__(self, half_life: float = 120.0) -> None:
        self.half_life = half_life

    def fit(self, history: History) -> Self:
        """Has nothing to learn from other users."""
        del history
        return self

    def score(self, queries: Queries) -> Scores:
        """Adds up the user's decayed visits, on a logarithmic scale, `(q, c)`."""
        return queries.own.rows("visits", self.half_life)
