"""What is bought together with an item, from the baskets of this moment.

How many baskets hold each item is counted over all sorted events once and follows the users who
changed since; an item's own baskets are looked up when somebody asks. The engine's lock is held for
copies of references only.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from client.recommenders.tables.baskets import BasketItems, Ints, lift
from client.serving.features.interactions import Interactions, UserEvents
from client.serving.state.browse import RankedRows, ranked_by_rules, row_of
from client.serving.state.engine import RecommendationEngine


@dataclass(frozen=True, eq=False)
class _Counted:
    """Baskets of all sorted events.

    Attributes:
        columns: The events.
        types: Types of events that were counted, as bytes.
        counts: Baskets of each item, `(n_items,)`.
        n_baskets: All baskets.
    """

    columns: UserEvents
    types: bytes
    counts: Ints
    n_baskets: int


class BoughtTogether:
    """Answers which items lie in the same baskets.

    Args:
        engine: Whose users' baskets they are.
    """

    def __init__(self, engine: RecommendationEngine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._counted: _Counted | None = None

    def refresh(self) -> None:
        """Counts the baskets of all sorted events where they are others than before."""
        with self._engine.lock:
            interactions, n_items = self._engine.interactions, len(self._engine.items)
        self._all(interactions, n_items)

    def ranked(self, item_id: str, n: int, user_id: str | None = None) -> tuple[RankedRows, Ints]:
        """Ranks the items that lie in an item's baskets by lift.

        Returns:
            Rows with scores, best first, and of each item how many baskets hold both, `(n_items,)`.

        Raises:
            UnknownError: The item is not in the catalogue.
        """
        engine = self._engine
        with engine.lock:
            row = row_of(engine, item_id)
            interactions, changed = engine.interactions, engine.interactions.changed()
            n_items = len(engine.items)
        counted = self._all(interactions, n_items)
        old, new = self._of_changed(interactions, changed)
        counts = _grown(counted.counts, n_items) - old.distinct().counts(n_items)
        counts += new.distinct().counts(n_items)
        n_baskets = counted.n_baskets - old.n_baskets + new.n_baskets
        together = self._sorted_with(interactions, row, changed).with_item(row, n_items)
        together += new.with_item(row, n_items)
        scores = lift(together, counts, row, n_baskets)
        with engine.lock:
            if engine.items.rows.get(item_id) != row:  # rows were numbered anew meanwhile
                return self.ranked(item_id, n, user_id)
            more = len(engine.items) - n_items
            scores = np.append(scores, np.zeros(more, dtype=np.float32))
            together = np.append(together, np.zeros(more, dtype=np.int64))
            best = ranked_by_rules(
                engine,
                "bought-together",
                scores,
                n,
                among=np.flatnonzero(scores > 0),
                user_id=user_id,
            )
        return best, together

    def _all(self, interactions: Interactions, n_items: int) -> _Counted:
        with self._lock:
            columns, types = interactions.columns, self._engine.taken_types.tobytes()
            known = self._counted
            if known is None or known.columns is not columns or known.types != types:
                rows = self._baskets(interactions.user_of_event, columns)
                known = _Counted(columns, types, rows.distinct().counts(n_items), rows.n_baskets)
                self._counted = known
            return known

    def _of_changed(
        self, interactions: Interactions, changed: dict[int, UserEvents]
    ) -> tuple[BasketItems, BasketItems]:
        """Returns the baskets of changed users as they were sorted, and as they are."""
        before = [(user, interactions.sorted_of(user)) for user in changed]
        return self._joined(before), self._joined(list(changed.items()))

    def _joined(self, histories: list[tuple[int, UserEvents]]) -> BasketItems:
        parts = [
            self._baskets(np.full(len(events), user, np.int64), events)
            for user, events in histories
        ]
        return BasketItems.join(parts)

    def _sorted_with(
        self, interactions: Interactions, row: int, changed: dict[int, UserEvents]
    ) -> BasketItems:
        """Returns the baskets of the sorted users who met an item and have not changed."""
        columns, starts = interactions.columns, interactions.starts
        met = np.searchsorted(starts, np.flatnonzero(columns.item == row), side="right") - 1
        users = np.setdiff1d(np.unique(met), list(changed))
        lengths = starts[users + 1] - starts[users]
        ends = np.cumsum(lengths)
        places = np.arange(ends[-1] if len(ends) else 0)
        places += np.repeat(starts[users] - (ends - lengths), lengths)
        return self._baskets(np.repeat(users, lengths), columns.select(places))

    def _baskets(self, user: npt.NDArray[np.integer], events: UserEvents) -> BasketItems:
        return BasketItems.of(
            user,
            events.item,
            session=events.session,
            time=events.time,
            taken=self._engine.taken_types[events.event_type],
            time_unit=self._engine.sources.time_unit,
        )


def _grown(counts: Ints, n_items: int) -> Ints:
    return np.append(counts, np.zeros(max(n_items - len(counts), 0), dtype=np.int64))
