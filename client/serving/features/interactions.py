"""The events of all users in memory, by user, and new ones the moment they are stored."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from client.recommenders.queries import History
from client.recommenders.visits import TAKEN_TYPES, TYPE_WEIGHT, visit_weights
from client.store.schema import EventColumns
from shared.interactions.events import Events


@dataclass(frozen=True, eq=False, slots=True)
class UserEvents:
    """One user's events in order of time, all arrays `(n,)`.

    Attributes:
        item: Rows of the item table, int32.
        time: In the unit of the shop's data, float64.
        event_type: Index into `EVENT_TYPES`, uint8.
        amount: `weight * type * log2(1 + quantity)`, float32: how much it counts in a profile.
        visit: The type's weight for an item's strongest event in a visit, else 0; float32.
        price: NaN where not known, float32.
        session: -1 for none, int64.
    """

    item: npt.NDArray[np.int32]
    time: npt.NDArray[np.float64]
    event_type: npt.NDArray[np.uint8]
    amount: npt.NDArray[np.float32]
    visit: npt.NDArray[np.float32]
    price: npt.NDArray[np.float32]
    session: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.item)

    def select(self, rows: npt.NDArray[Any] | slice) -> UserEvents:
        """Returns some of the events."""
        return UserEvents(*[getattr(self, name)[rows] for name in _NAMES])

    def without(self, items: npt.NDArray[np.integer]) -> UserEvents:
        """Leaves out what was done with some items."""
        return self.select(~np.isin(self.item, items)) if len(items) else self

    def taken(self, types: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
        """Returns distinct items that the user has, ascending.

        Args:
            types: Types that say so, mask over `EVENT_TYPES`.
        """
        return np.unique(self.item[types[self.event_type]])

    @staticmethod
    def of(user: npt.NDArray[np.int32], item: npt.NDArray[np.int32], rows: EventColumns) -> Any:
        """Sorts events of any users by user and time and finds the visits.

        Returns:
            The sorted users, and their events.
        """
        order = np.lexsort((rows.time, user))
        user, item = user[order], item[order]
        kind = rows.event_type[order]
        events = UserEvents(
            item=item,
            time=rows.time[order],
            event_type=kind,
            amount=rows.amount[order] * TYPE_WEIGHT[kind],
            visit=visit_weights(user, item, rows.session[order], kind),
            price=rows.price[order],
            session=rows.session[order],
        )
        return user, events


_NAMES = tuple(f.name for f in fields(UserEvents))
NO_EVENTS = UserEvents(
    np.zeros(0, np.int32),
    np.zeros(0, np.float64),
    np.zeros(0, np.uint8),
    np.zeros(0, np.float32),
    np.zeros(0, np.float32),
    np.zeros(0, np.float32),
    np.zeros(0, np.int64),
)
"""A user without events."""


class Interactions:
    """All users' events: sorted columns, and whole histories of users who changed since.

    Attributes:
        starts: Where each user's events begin in `columns`, `(n_users + 1,)`.
        columns: All events, by user and time.
    """

    def __init__(self, starts: npt.NDArray[np.int64], columns: UserEvents) -> None:
        self.starts = starts
        self.columns = columns
        self._changed: dict[int, UserEvents] = {}

    @classmethod
    def build(
        cls,
        user: npt.NDArray[np.int32],
        item: npt.NDArray[np.int32],
        rows: EventColumns,
        *,
        n_users: int,
    ) -> Self:
        """Sorts events by user.

        Args:
            user: Row of each event's user, `(n,)`.
            item: Row of each event's item, `(n,)`.
            rows: The events.
            n_users: Users, with events or not.
        """
        users, columns = UserEvents.of(user, item, rows)
        starts = np.searchsorted(users, np.arange(n_users + 1)).astype(np.int64)
        return cls(starts, columns)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def n_events(self) -> int:
        """Events of all users."""
        known = self._changed
        before = sum(
            int(self.starts[user + 1] - self.starts[user]) for user in known if user < len(self)
        )
        return len(self.columns) - before + sum(map(len, known.values()))

    def of(self, user: int) -> UserEvents:
        """Returns one user's events; none for a row that is not known."""
        changed = self._changed.get(user)
        if changed is not None:
            return changed
        return self.sorted_of(user)

    def sorted_of(self, user: int) -> UserEvents:
        """Returns a user's events as they are in `columns`, whatever came since."""
        if not 0 <= user < len(self):
            return NO_EVENTS
        return self.columns.select(slice(self.starts[user], self.starts[user + 1]))

    def append(self, user: int, new: UserEvents) -> None:
        """Adds events of one user."""
        old = self.of(user)
        both = UserEvents(
            *(np.concatenate([getattr(old, name), getattr(new, name)]) for name in _NAMES)
        )
        in_order = not len(old) or new.time[0] >= old.time[-1]
        if len(new) == 1 and new.session[0] < 0 and in_order:
            self._changed[user] = both  # the usual case: nothing to sort, a visit of its own
            return
        order = np.argsort(both.time, kind="stable")
        both = both.select(order)
        nobody = np.zeros(len(both), np.int32)
        visit = visit_weights(nobody, both.item, both.session, both.event_type)
        self._changed[user] = UserEvents(
            both.item,
            both.time,
            both.event_type,
            both.amount,
            visit,
            both.price,
            both.session,
        )

    def replace(self, user: int, events: UserEvents) -> None:
        """Puts a user's whole history in place of the old one."""
        self._changed[user] = events

    def changed(self) -> dict[int, UserEvents]:
        """Returns the users who changed since the columns were sorted, with all their events."""
        return dict(self._changed)

    def merged(
        self,
        changed: dict[int, UserEvents],
        *,
        n_users: int,
        alive: npt.NDArray[np.bool_] | None = None,
    ) -> Interactions:
        """Sorts changed users in; this object stays as it is.

        Args:
            changed: From `changed`, perhaps a while ago.
            n_users: Users now.
            alive: Items whose events stay, `(n_items,)`; None for all.
        """
        users = self.user_of_event
        # A user who changed is replaced as a whole: a deleted event leaves no trace to merge.
        gone = np.zeros(max(n_users, len(self)), dtype=np.bool_)
        gone[list(changed)] = True
        parts = [self.columns.select(~gone[users]), *changed.values()]
        owners = [users[~gone[users]], *(np.full(len(e), u, np.int32) for u, e in changed.items())]
        user = np.concatenate(owners)
        columns = UserEvents(
            *(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(UserEvents))
        )
        if alive is not None and not alive.all():
            user, columns = user[alive[columns.item]], columns.select(alive[columns.item])
        # Stable: within a user the events are in order of time already.
        order = np.argsort(user, kind="stable")
        columns = columns.select(order)
        starts = np.searchsorted(user[order], np.arange(n_users + 1)).astype(np.int64)
        return Interactions(starts, columns)

    def adopt(self, later: dict[int, UserEvents], earlier: dict[int, UserEvents]) -> None:
        """Keeps the users who changed again after `earlier` was sorted in."""
        self._changed = {u: e for u, e in later.items() if earlier.get(u) is not e}

    @property
    def user_of_event(self) -> npt.NDArray[np.int32]:
        """Row of the user of each event in `columns`."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.starts))

    def history(self, n_items: int, taken_types: npt.NDArray[np.bool_] = TAKEN_TYPES) -> History:
        """Returns the sorted events as recommenders learn from them, items by row.

        Args:
            n_items: Rows of the item table, all of them candidates.
            taken_types: As in `History`.
        """
        columns, n = self.columns, len(self)
        own_weight = columns.amount / TYPE_WEIGHT[columns.event_type]
        events = Events(
            user=self.user_of_event,
            item=columns.item,
            time=columns.time,
            event_type=columns.event_type,
            weight=own_weight,
            quantity=np.ones(len(columns), np.float32),
            price=columns.price,
            session=columns.session,
        )
        candidates = np.arange(n_items, dtype=np.int32)
        return History(events, candidates, np.zeros(n), taken_types, columns.visit)
