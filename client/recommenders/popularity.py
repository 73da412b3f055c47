"""How many users took an item; updated with every event."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt

from client.recommenders.interface import QueryContext, Scores
from client.recommenders.queries import History, Queries
from client.recommenders.tables.item_scores import DenseScores
from client.recommenders.visits import TYPE_WEIGHT
from shared.interactions.events import Events


class Popularity:
    """Scores an item by the logarithm of the number of its users.

    A user counts by the strongest thing that it did with the item, so that a view is not worth a
    purchase. The logarithm changes no ranking; without it a few staples would decide every weighted
    sum.
    """

    def __init__(self) -> None:
        self.users: npt.NDArray[np.float64] = np.zeros(0)
        self._logs: DenseScores | None = None

    def fit(self, history: History) -> Self:
        """Counts the users of each candidate."""
        strongest = history.sparse_rows("strongest", np.inf)
        counts = np.bincount(strongest.indices, strongest.data, minlength=history.shape[1])
        self.users = counts.astype(np.float64)
        self._logs = None
        return self

    def add_events(self, new: Events, *, known: History) -> Self:
        """Counts each event beside what its user did before."""
        column = np.searchsorted(known.candidates, new.item)
        for place in np.flatnonzero(np.isin(new.item, known.candidates)).tolist():
            theirs = (known.events.user == new.user[place]) & (known.events.item == new.item[place])
            kinds = known.events.event_type[theirs]
            later = (new.user[place:] == new.user[place]) & (new.item[place:] == new.item[place])
            before = kinds[: len(kinds) - int(later.sum())]
            self.add(int(column[place]), int(new.event_type[place]), before=before)
        return self

    def add(self, item: int, kind: int, *, before: npt.NDArray[np.uint8]) -> None:
        """Counts one event.

        Args:
            item: Its item.
            kind: Its type.
            before: Types of what its user did with the item before.
        """
        known = float(TYPE_WEIGHT[before].max(initial=0.0))
        self.users[item] += max(float(TYPE_WEIGHT[kind]) - known, 0.0)
        self._logs = None

    def grow(self, n_items: int) -> None:
        """Makes room for new items."""
        self.users = np.concatenate([self.users, np.zeros(n_items - len(self.users))])
        self._logs = None

    def score(self, queries: Queries) -> Scores:
        """Returns the same scores for every query, `(q, c)`."""
        return np.tile(self._values().values, (len(queries), 1))

    def answer(self, context: QueryContext) -> DenseScores:
        """Returns the same scores for everybody."""
        del context
        return self._values()

    def explain(self, context: QueryContext, item: int) -> list[float]:
        """Rests on no item of the context."""
        del context, item
        return []

    def _values(self) -> DenseScores:
        if self._logs is None:
            self._logs = DenseScores.of(np.log1p(self.users.astype(np.float32)))
        return self._logs
