"""What recommenders share whose answers are sums over a table of neighbours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import scipy.sparse as sp

from client.recommenders.config import RowForm
from client.recommenders.interface import QueryContext, Scores
from client.recommenders.queries import History, Queries
from client.recommenders.tables.item_scores import SparseScores
from client.recommenders.tables.neighbours import Neighbours
from shared.interactions.events import Events


class NeighbourModel(ABC):
    """Scores an item by what the items of the context say of it.

    Attributes:
        form: How histories become rows.
        half_life: Of an event in the rows, in the unit of `Events.time`.
        neighbours: What each item says of others.
    """

    def __init__(self, *, form: RowForm, half_life: float) -> None:
        self.form: RowForm = form
        self.half_life = half_life
        self.neighbours = Neighbours.none()

    @abstractmethod
    def fit(self, history: History) -> Self:
        """Finds the neighbours of all candidates."""

    def add_events(self, new: Events, *, known: History) -> Self:
        """Finds them anew: one event changes many weights a little."""
        del new
        return self.fit(known)

    def score(self, queries: Queries) -> Scores:
        """Sums over the context what its items say of the candidates, `(q, c)`."""
        x = queries.history.sparse_rows(self.form, self.half_life)
        scores: Scores = sp.csr_array(x @ self.neighbours.matrix(x.shape[1])).toarray()
        return scores

    def answer(self, context: QueryContext) -> SparseScores:
        """Sums the same for one query."""
        return self.neighbours.add_up(context.items, context.counts)

    def explain(self, context: QueryContext, item: int) -> list[float]:
        """Returns what each item of the context adds."""
        return self.neighbours.shares(context.items, context.counts, item)
