"""The shop's recommender in memory: answers at once, learns with every event."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from client.serving.counts import Counts
from client.serving.histories import EMPTY, KIND, Histories, UserEvents
from client.serving.items import ItemTable
from client.serving.ranking import Ranking, cap_groups, diversify, rank, weight_row
from client.serving.signals import Context, Sources
from client.serving.space import Space
from client.serving.weights import Mix, co_purchase, public_mixes
from client.store.records import Event, EventColumns, Item, User

POOL = 100
"""Items ranked before diversity and caps choose among them, beyond those asked for."""


@dataclass(frozen=True)
class Ask:
    """What a caller wants.

    Attributes:
        surface: `for-you`, `discover`, `buy-again` or `session`.
        n: Items.
        offset: Items of the ranking to leave out first.
        category: Only items of this category; None for all.
        exclude: Ids never to show.
        diversity: 0 to 1; see `ranking.diversify`.
        max_per_category: Items of one category at most; None for any number.
        variant: `fused`, or `local` for the shop's own signals alone.
    """

    surface: str
    n: int = 10
    offset: int = 0
    category: str | None = None
    exclude: tuple[str, ...] = ()
    diversity: float = 0.0
    max_per_category: int | None = None
    variant: str = "fused"


@dataclass(frozen=True, eq=False)
class Answer:
    """A ranking and what it was made from.

    Attributes:
        ranking: The items.
        context: The context of the query.
        events: Its events.
    """

    ranking: Ranking
    context: Context
    events: UserEvents


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
        self._recount = False
        self.set_mixes(public_mixes(adapter=sources.space.has_adapter))

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
            weights = self._weights[self._mix_of(ask.surface), ask.variant]
            signals = self.sources.matrix(context, weights > 0)
            excluded = self._excluded(ask.surface, events, own)
            allowed = self._allowed(ask, own)
            n = ask.offset + ask.n
            choosy = ask.diversity > 0 or ask.max_per_category is not None
            k = n + POOL if choosy else n
            ranking = rank(signals, weights, excluded=excluded, allowed=allowed, k=k)
            if ask.max_per_category is not None:
                groups = self.items.category[ranking.items]
                ranking = cap_groups(ranking, groups, ask.max_per_category)
            vectors = self.sources.space.vectors[ranking.items]
            ranking = diversify(ranking, vectors, n=n, diversity=ask.diversity)
            return Answer(ranking.select(slice(ask.offset, n)), context, events)

    @staticmethod
    def _mix_of(surface: str) -> str:
        return "for-you" if surface == "buy-again" else surface

    @staticmethod
    def _excluded(surface: str, events: UserEvents, own: UserEvents) -> npt.NDArray[np.int32]:
        if surface == "discover":
            return own.taken
        return np.unique(events.item) if surface == "session" else EMPTY.item

    def _allowed(self, ask: Ask, own: UserEvents) -> npt.NDArray[np.bool_]:
        allowed = self.items.shown.copy()
        if ask.category is not None:
            allowed &= self.items.in_category(ask.category)
        if ask.exclude:
            allowed[self.items.rows_of(ask.exclude)] = False
        if ask.surface == "buy-again":
            again = np.zeros_like(allowed)
            again[own.taken] = True
            allowed &= again
        return allowed

    def cart(self, item_ids: Sequence[str]) -> UserEvents:
        """Returns a session's items as events of this moment that nobody stores."""
        rows = self.items.rows_of(dict.fromkeys(item_ids)).astype(np.int32)
        n = len(rows)
        kind = KIND[0]
        return UserEvents(
            item=rows,
            time=np.full(n, self.sources.counts.now),
            event_type=np.zeros(n, np.uint8),
            amount=np.full(n, kind, np.float32),
            visit=np.full(n, kind, np.float32),
            price=np.full(n, np.nan, np.float32),
            session=np.full(n, -1, np.int64),
        )

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
            self._recount = True
            self.events_since += 1

    def _add(self, event: Event) -> None:
        item = self.items.rows.get(event.item_id)
        if item is None:
            return
        row = self._user_row(event.user_id)
        kind = KIND[event.event_type]
        amount = event.weight * np.log2(1.0 + max(event.quantity, 0.0)) * kind
        price = np.nan if event.price is None else event.price
        new = UserEvents(
            np.array([item], np.int32),
            np.array([event.time]),
            np.array([event.event_type], np.uint8),
            np.array([amount], np.float32),
            np.array([kind], np.float32),
            np.array([price], np.float32),
            np.array([event.session], np.int64),
        )
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
            self.sources = replace(self.sources, space=space)

    def delete_item(self, item_id: str) -> None:
        """Never shows an item again."""
        with self.lock:
            self.items.delete(item_id)

    def refresh(self) -> bool:
        """Counts co-purchase anew while answers go on; False where nothing has happened.

        Meant for a thread of its own; what happens meanwhile stays for the next time.
        """
        with self.lock:
            if not self.events_since:
                return False
            recount, self.events_since, self._recount = self._recount, 0, False
            old, changed, n_users = self.histories, self.histories.changed(), self.n_rows
            key, generation = self.last_key, self.generation
            alive = np.array([item is not None for item in self.items.items])
            now, unit = self.sources.counts.now, self.sources.unit
        histories = old.merged(changed, n_users=n_users, alive=alive)
        if recount and unit == "days":  # the latest event may be one that was deleted
            now = float(histories.columns.time.max(initial=0.0))
        near, solved = co_purchase(histories, n_items=len(alive), now=now, unit=unit)
        counts = None
        if recount:
            counts = Counts.of(histories, n_items=len(alive), now=now, dated=unit == "days")
        with self.lock:
            histories.adopt(self.histories.changed(), changed)
            self.histories, self.sorted_key, self.sorted_generation = histories, key, generation
            self.sources = replace(self.sources, near=near, ease=solved)
            if counts is not None and self.events_since:
                self._recount = True  # these counts miss what came meanwhile
            elif counts is not None:
                counts.grow(len(self.items))
                self.sources = replace(self.sources, counts=counts)
        return True

    def swap_space(self, space: Space, mixes: dict[str, Mix] | None = None) -> None:
        """Puts new item vectors and another adapter in place between two answers."""
        with self.lock:
            self.sources = replace(self.sources, space=space)
            if mixes is not None:
                self.set_mixes(mixes)
