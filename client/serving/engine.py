"""The shop's recommender in memory: answers at once, learns with every event."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from client.serving.asking import Answer, Ask
from client.serving.candidates import allowed, excluded
from client.serving.event_rows import row_of, rows_of_cart
from client.serving.histories import EMPTY, Histories, UserEvents
from client.serving.items import ItemTable
from client.serving.mixes import Mix, public_mixes
from client.serving.outside import Outside, Pairs
from client.serving.ranking import Ranking, cap_groups, diversify, rank, weight_row
from client.serving.refreshing import refresh
from client.serving.signals import Sources
from client.serving.space import Space
from client.store.records import Event, EventColumns, Item, User

POOL = 100
"""Items ranked before diversity and caps choose among them, beyond those asked for."""


class Engine:
    """All that is needed to answer, behind one lock.

    Args:
        items: The shop's items.
        users: Ids by row, None for a deleted user.
        segments: Segments that the shop gave, by user id.
        histories: The users' events.
        sources: What signals are computed from.
        last_key: `event_key` up to which the histories go.
        generation: Changes and deletions that they know of.
    """

    def __init__(
        self,
        *,
        items: ItemTable,
        users: Sequence[str | None],
        segments: dict[str, str],
        histories: Histories,
        sources: Sources,
        last_key: int = 0,
        generation: int = 0,
    ) -> None:
        self.lock = threading.RLock()
        self.items = items
        self.users = {user_id: row for row, user_id in enumerate(users) if user_id is not None}
        self.segments = segments
        self.n_rows = len(users)
        self.histories = histories
        self.sources = sources
        self.last_key = self.sorted_key = last_key
        self.generation = self.sorted_generation = generation
        self.events_since = 0
        self.recount = False
        self.set_mixes(public_mixes(sources))

    def set_mixes(self, mixes: dict[str, Mix]) -> None:
        """Takes new fusion weights from the next answer on."""
        rows = {}
        for surface, mix in mixes.items():
            rows[surface, "fused"] = weight_row(mix.fused)
            rows[surface, "local"] = weight_row(mix.local)
        with self.lock:
            self.mixes, self._weights = mixes, rows

    def history(self, user_id: str | None) -> UserEvents:
        """Returns a user's events; none for somebody unknown."""
        row = self.users.get(user_id, -1) if user_id is not None else -1
        return self.histories.of(row)

    def recommend(self, ask: Ask, user_id: str | None, cart: UserEvents | None = None) -> Answer:
        """Ranks the items of a surface for a user, a cart or both.

        Args:
            ask: What is wanted.
            user_id: None for a visitor without a name; an unknown user has no history.
            cart: Events of a session that are not stored; None takes the user's history.
        """
        with self.lock:
            own = self.history(user_id)
            events = own if cart is None else cart
            context = self.sources.context(events, own)
            weights = self._weights[ask.mix, ask.variant]
            ranking = rank(
                self.sources.used(context, weights),
                weights,
                vectors=self.sources.space.vectors,
                excluded=excluded(ask, events, own),
                allowed=allowed(self.items, ask, own),
                k=ask.offset + ask.n + (POOL if _is_choosy(ask) else 0),
            )
            return Answer(self._chosen(ranking, ask), context, events)

    def _chosen(self, ranking: Ranking, ask: Ask) -> Ranking:
        if ask.max_per_category is not None:
            groups = self.items.category[ranking.items]
            ranking = cap_groups(ranking, groups, ask.max_per_category)
        n = ask.offset + ask.n
        if ask.diversity > 0:
            vectors = self.sources.space.vectors[ranking.items]
            ranking = diversify(ranking, vectors, n=n, diversity=ask.diversity)
        return ranking.select(slice(ask.offset, n))

    def cart(self, item_ids: Sequence[str]) -> UserEvents:
        """Returns a session's items as events of this moment that nobody stores."""
        rows = self.items.rows_of(dict.fromkeys(item_ids))
        return rows_of_cart(rows, self.sources.counts.now)

    def add_events(self, events: Sequence[Event], last_key: int) -> None:
        """Learns from events that are stored: profile, frequency and counts, at once.

        Args:
            events: The new ones.
            last_key: `event_key` of the newest stored event.
        """
        with self.lock:
            for event in events:
                self._add(event)
            self.last_key = last_key
            self.events_since += len(events)

    def changed(self, generation: int, last_key: int) -> None:
        """Notes that stored events were changed or deleted; counts follow with a refresh."""
        with self.lock:
            self.generation, self.last_key = generation, max(last_key, self.last_key)
            self.recount = True
            self.events_since += 1

    def _add(self, event: Event) -> None:
        item = self.items.rows.get(event.item_id)
        if item is None:
            return
        row = self._user_row(event.user_id)
        new = row_of(event, item)
        seen = self.histories.of(row)
        self.sources.counts.add(new, seen=seen, dated=self.sources.unit == "days")
        self.histories.append(row, new)

    def _user_row(self, user_id: str) -> int:
        row = self.users.get(user_id)
        if row is None:
            row = self.users[user_id] = self.n_rows
            self.n_rows += 1
        return row

    def put_users(self, users: Sequence[User]) -> None:
        """Takes new or changed users."""
        with self.lock:
            for user in users:
                self._user_row(user.user_id)
                self.segments[user.user_id] = user.segment

    def replace_user(self, user_id: str, rows: EventColumns, items: npt.NDArray[np.int32]) -> None:
        """Puts a user's whole history in place of the old one, after an event was changed."""
        with self.lock:
            row = self._user_row(user_id)
            _, events = UserEvents.of(np.zeros(len(rows), np.int32), items, rows)
            self.histories.replace(row, events)

    def forget(self, user_id: str) -> None:
        """Drops a user and the whole history at once; counts follow with the next refresh."""
        with self.lock:
            row = self.users.pop(user_id, None)
            self.segments.pop(user_id, None)
            if row is not None:
                self.histories.replace(row, EMPTY)

    def put_items(self, items: Sequence[Item], vectors: npt.NDArray[np.float32]) -> None:
        """Takes new or changed items with their vectors, from the next answer on."""
        with self.lock:
            rows = self.items.put(items)
            n = len(self.items)
            self.sources.counts.grow(n)
            space = self.sources.space.put(rows, vectors, n_items=n)
            row_of = {item.item_id: self.items.rows[item.item_id] for item in items}
            outside = self.sources.outside.grown(row_of, n_items=n)
            self.sources = replace(self.sources, space=space, outside=outside)

    def delete_item(self, item_id: str) -> None:
        """Never shows an item again."""
        with self.lock:
            self.items.delete(item_id)

    def refresh(self) -> bool:
        """Counts co-purchase anew while answers go on; see `refreshing.refresh`."""
        return refresh(self)

    def swap(self, space: Space, outside: Outside, pairs: Pairs, mixes: dict[str, Mix]) -> None:
        """Puts another adapter and all that goes with it in place between two answers."""
        with self.lock:
            outside = outside.grown(self.items.rows, n_items=len(self.items))
            self.sources = replace(self.sources, space=space, outside=outside, pairs=pairs)
            self.set_mixes(mixes)


def _is_choosy(ask: Ask) -> bool:
    return ask.diversity > 0 or ask.max_per_category is not None
