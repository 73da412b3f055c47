"""What users take next: directed pairs of items that followed each other within a few steps."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.sparse as sp

from client.recommenders.config import N_NEIGHBOURS, SEQUENCE_STEPS
from client.recommenders.interface import QueryContext, Scores
from client.recommenders.queries import History, Queries
from client.recommenders.tables.item_scores import SparseScores
from client.recommenders.tables.neighbours import Neighbours
from shared.interactions.events import Events


class Sequence:
    """Scores an item by how often it followed the latest items of the context.

    The item `d` steps later counts `1 / d`, up to `SEQUENCE_STEPS`; an item of the context counts
    `2^(-age / half_life)` of its latest event.

    Attributes:
        half_life: Of an event of the context, in the unit of `Events.time`.
    """

    def __init__(self, *, half_life: float) -> None:
        self.half_life = half_life
        self.neighbours = Neighbours.none()
        self._counts: sp.csr_array | None = None  # a copy on the disk has the neighbours alone

    def fit(self, history: History) -> Self:
        """Counts what followed what."""
        known = history.bounded
        self._counts = _followers(known, np.ones(len(known.events), np.bool_))
        self.neighbours = _strongest(self._counts)
        return self

    def add_events(self, new: Events, *, known: History) -> Self:
        """Counts the steps that end in new events beside those before."""
        # Beyond the bound old events leave, and their steps with them.
        if self._counts is None or known.bounded is not known:
            return self.fit(known)
        n_new = np.bincount(new.user, minlength=len(known.now))
        events = known.events
        from_end = np.cumsum(np.bincount(events.user, minlength=len(known.now)))
        is_new = from_end[events.user] - np.arange(len(events)) <= n_new[events.user]
        self._counts = self._counts + _followers(known, is_new)
        self.neighbours = _strongest(self._counts)
        return self

    def score(self, queries: Queries) -> Scores:
        """Sums over the context what followed its items, `(q, c)`."""
        x = queries.history.sparse_rows("latest", self.half_life)
        scores: Scores = sp.csr_array(x @ self.neighbours.matrix(x.shape[1])).toarray()
        return scores

    def answer(self, context: QueryContext) -> SparseScores:
        """Sums the same for one query."""
        return self.neighbours.add_up(context.items, context.latest)

    def explain(self, context: QueryContext, item: int) -> list[float]:
        """Returns what each item of the context adds."""
        return self.neighbours.shares(context.items, context.latest, item)


def _followers(known: History, ends: np.ndarray) -> sp.csr_array:
    """Counts the steps that end in some of the events, `(c, c)` from item to follower."""
    events, c = known.events, len(known.candidates)
    inside = np.isin(events.item, known.candidates)
    user, ends = events.user[inside], ends[inside]
    item = np.searchsorted(known.candidates, events.item[inside])
    source, target, value = [], [], []
    for step in range(1, SEQUENCE_STEPS + 1):
        together = (user[step:] == user[:-step]) & ends[step:]
        source.append(item[:-step][together])
        target.append(item[step:][together])
        value.append(np.full(int(together.sum()), 1.0 / step))
    place = (np.concatenate(source), np.concatenate(target))
    return sp.coo_array((np.concatenate(value), place), shape=(c, c)).tocsr()


def _strongest(counts: sp.csr_array) -> Neighbours:
    """Keeps the `N_NEIGHBOURS` largest of each row, of equal ones the first."""
    sizes = np.diff(counts.indptr)
    if sizes.max(initial=0) <= N_NEIGHBOURS:
        return Neighbours.of(counts)
    row = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((counts.indices, -counts.data, row))
    place = np.arange(len(order)) - np.repeat(counts.indptr[:-1], sizes)
    order = order[place < N_NEIGHBOURS]
    strongest = sp.coo_array(
        (counts.data[order], (row[order], counts.indices[order])), counts.shape
    )
    return Neighbours.of(strongest.tocsr())
