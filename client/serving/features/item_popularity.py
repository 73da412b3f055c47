"""How many users took an item, in all and in the last weeks; updated with every event."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from client.serving.features.interactions import TYPE_WEIGHT, Interactions, UserEvents
from client.serving.features.item_scores import DenseScores

RECENCY_HALF_LIFE = 14.0
"""Half-life of a visit in `recency`, in days."""


@dataclass(eq=False)
class ItemPopularity:
    """Popularity and recency of all items.

    Attributes:
        users: Distinct users of each item, `(n_items,)` float64.
        recent: Visits, each halved every `RECENCY_HALF_LIFE` days before `now`, `(n_items,)`
            float64.
        now: To what moment `recent` counts.
    """

    users: npt.NDArray[np.float64]
    recent: npt.NDArray[np.float64]
    now: float
    _logs: dict[str, DenseScores] = field(default_factory=dict)

    @property
    def popularity(self) -> DenseScores:
        """Log of the number of users."""
        return self._log("popularity", self.users)

    @property
    def recency(self) -> DenseScores:
        """Log of the decayed visits."""
        return self._log("recency", self.recent)

    def _log(self, name: str, values: npt.NDArray[np.float64]) -> DenseScores:
        logs = self._logs.get(name)
        if logs is None:
            logs = self._logs[name] = DenseScores.of(np.log1p(values.astype(np.float32)))
        return logs

    @classmethod
    def of(cls, interactions: Interactions, *, n_items: int, now: float, dated: bool) -> Self:
        """Counts all events; without dates nothing is recent."""
        columns = interactions.columns
        ones = np.ones(len(columns), dtype=np.bool_)
        # Copies: sum_duplicates sorts in place, and these arrays are the users' events.
        pairs = sp.csr_array(
            (ones, columns.item.copy(), interactions.starts.copy()),
            shape=(len(interactions), n_items),
        )
        pairs.sum_duplicates()
        users = np.bincount(pairs.indices, minlength=n_items).astype(np.float64)
        recent = np.zeros(n_items)
        if dated:
            decay = np.exp2(-np.maximum(now - columns.time, 0.0) / RECENCY_HALF_LIFE)
            recent[:] = np.bincount(columns.item, columns.visit * decay, minlength=n_items)
        return cls(users, recent, now)

    def add(self, new: UserEvents, *, seen: UserEvents, dated: bool) -> None:
        """Counts one event of a user who had `seen` before it."""
        item, time = int(new.item[0]), float(new.time[0])
        self._logs.clear()
        if not (seen.item == item).any():
            self.users[item] += 1
        if dated:
            if time > self.now:
                # All counts decay to the new moment, so that no event's time must be remembered.
                self.recent *= 2.0 ** (-(time - self.now) / RECENCY_HALF_LIFE)
                self.now = time
            weight = float(TYPE_WEIGHT[new.event_type[0]])
            if new.session[0] >= 0:  # of an item's events in one visit, the strongest counts
                same = (seen.item == item) & (seen.session == new.session[0])
                weight = max(weight - float(seen.visit[same].max(initial=0.0)), 0.0)
            self.recent[item] += weight * 2.0 ** (-(self.now - time) / RECENCY_HALF_LIFE)

    def grow(self, n_items: int) -> None:
        """Makes room for new items."""
        self._logs.clear()
        more = np.zeros(n_items - len(self.users))
        self.users = np.concatenate([self.users, more])
        self.recent = np.concatenate([self.recent, more])
