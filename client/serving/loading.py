"""The state in memory from the database, with the copy on the disk where it is still true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from client.serving.counts import Counts
from client.serving.engine import Engine
from client.serving.histories import Histories, UserEvents
from client.serving.items import ItemTable
from client.serving.outside import Outside, Released
from client.serving.signals import Sources
from client.serving.snapshot import Snapshot, State
from client.serving.space import Space
from client.serving.weights import co_purchase, co_purchase_of_all
from client.store.reading import read_events, read_items, read_users
from client.store.records import EventColumns, Item
from client.store.store import Store
from client.store.writing import GENERATION


@dataclass(frozen=True, eq=False)
class Loaded:
    """Everything that the database holds, by row.

    Attributes:
        items: The shop's items.
        user_ids: By row, None for a deleted user.
        segments: Segments that the shop gave, by user id.
        user: Row of each event's user, `(n,)`; of the events that `state` does not know.
        item: Row of each event's item, `(n,)`.
        rows: Those events.
        state: The copy on the disk, None where there is none.
        generation: Changes and deletions so far.
    """

    items: ItemTable
    user_ids: Sequence[str | None]
    segments: dict[str, str]
    user: npt.NDArray[np.int32]
    item: npt.NDArray[np.int32]
    rows: EventColumns
    state: State | None
    generation: int

    def engine(self, space: Space, *, unit: str, released: Released | None = None) -> Engine:
        """Builds the state, all of it or only what the copy does not know.

        Args:
            space: Item vectors and adapter.
            unit: "days" or "order".
            released: What the federation knows of other shops' users.
        """
        histories, sources = (
            self._fresh(space, unit)
            if self.state is None
            else self._copied(self.state, space, unit)
        )
        sources = with_outside(sources, released, self.items, histories)
        known = 0 if self.state is None else self.state.last_key
        engine = Engine(
            items=self.items,
            users=self.user_ids,
            segments=self.segments,
            histories=histories,
            sources=sources,
            last_key=int(self.rows.key.max(initial=known)),
            generation=self.generation,
        )
        if self.state is not None:
            engine.sorted_key, engine.events_since = known, len(self.rows)
        return engine

    def _fresh(self, space: Space, unit: str) -> tuple[Histories, Sources]:
        n_items = len(self.items)
        histories = Histories.build(self.user, self.item, self.rows, n_users=len(self.user_ids))
        now = float(self.rows.time.max(initial=0.0))
        counts = Counts.of(histories, n_items=n_items, now=now, dated=unit == "days")
        near, solved = co_purchase(histories, n_items=n_items, now=now, unit=unit)
        return histories, Sources(counts, near, solved, space, unit)

    def _copied(self, state: State, space: Space, unit: str) -> tuple[Histories, Sources]:
        histories, counts = state.histories, state.counts
        counts.grow(len(self.items))
        users, events = UserEvents.of(self.user, self.item, self.rows)
        for place, user in enumerate(users.tolist()):
            one = events.select(slice(place, place + 1))
            counts.add(one, seen=histories.of(user), dated=unit == "days")
            histories.append(user, one)
        return histories, Sources(counts, state.near, state.ease, space, unit)


def with_outside(
    sources: Sources, released: Released | None, items: ItemTable, histories: Histories
) -> Sources:
    """Adds what a federation released, on the shop's own items and with its users in the pairs."""
    n_items = len(items)
    outside = Outside.of(released, items.rows, histories, n_items=n_items)
    now, unit = sources.counts.now, sources.unit
    pairs = co_purchase_of_all(histories, outside, n_items=n_items, now=now, unit=unit)
    return replace(sources, outside=outside, pairs=pairs)


def load(store: Store, snapshot: Snapshot) -> Loaded:
    """Reads the database, events only from where the copy on the disk ends."""
    generation = int(store.fact(GENERATION) or 0)
    state = snapshot.load(generation=generation)
    with store.reading() as connection:
        items, users = read_items(connection), read_users(connection)
        rows = read_events(connection, after=0 if state is None else state.last_key)
    by_id = {item.item_id: item for _, item in items}
    item_ids = _order(
        [item.item_id for _, item in items], None if state is None else state.item_ids
    )
    user_ids = _order(
        [user.user_id for _, user in users], None if state is None else state.user_ids
    )
    table: list[Item | None] = [None if i is None else by_id.get(i) for i in item_ids]
    return Loaded(
        items=ItemTable(table),
        user_ids=user_ids,
        segments={user.user_id: user.segment for _, user in users if user.segment},
        user=_rows_of(rows.user, [(key, user.user_id) for key, user in users], user_ids),
        item=_rows_of(rows.item, [(key, item.item_id) for key, item in items], item_ids),
        rows=rows,
        state=state,
        generation=generation,
    )


def _order(ids: list[str], known: list[str | None] | None) -> list[str | None]:
    """Puts ids in the rows that the copy has them in, new ones behind."""
    if known is None:
        return list(ids)
    there, stored = set(known), set(ids)
    kept = [name if name in stored else None for name in known]
    return [*kept, *(name for name in ids if name not in there)]


def _rows_of(
    keys: npt.NDArray[np.int64], keyed: list[tuple[int, str]], ids: Sequence[str | None]
) -> npt.NDArray[np.int32]:
    """Translates keys of the database to rows."""
    row_of = {name: row for row, name in enumerate(ids)}
    stored = np.array([key for key, _ in keyed], dtype=np.int64)
    rows = np.array([row_of[name] for _, name in keyed], dtype=np.int32)
    return rows[np.searchsorted(stored, keys)] if len(keys) else np.zeros(0, np.int32)
