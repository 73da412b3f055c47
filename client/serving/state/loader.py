"""The state in memory from the database, with the copy on the disk where it is still true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from client.recommenders.local import behaviour_recommenders
from client.recommenders.tables.item_vectors import ProfileSpace
from client.serving.features.federated_statistics import (
    FederatedStatistics,
    ReleasedStatistics,
    fit_pairs,
)
from client.serving.features.interactions import Interactions, UserEvents
from client.serving.features.item_table import ItemTable
from client.serving.ranking.signals import SignalSources, popularity_of
from client.serving.state.engine import RecommendationEngine
from client.serving.state.snapshot import Snapshot, SnapshotContent
from client.store.changes import GENERATION
from client.store.dislikes import read_dislikes
from client.store.reading import read_events, read_fact, read_items, read_users
from client.store.schema import EventColumns, Item
from client.store.store import Store


@dataclass(frozen=True, eq=False)
class LoadedShop:
    """Everything that the database holds, by row.

    Attributes:
        items: The shop's items.
        user_ids: By row, None for a deleted user.
        segments: Segments that the shop gave, by user id.
        user: Row of each event's user, `(n,)`; of the events that `state` does not know.
        item: Row of each event's item, `(n,)`.
        rows: Those events.
        state: The copy on the disk, None for none.
        generation: Changes and deletions so far.
        dislikes: Ids of the items that users do not like, by user.
    """

    items: ItemTable
    user_ids: Sequence[str | None]
    segments: dict[str, str]
    user: npt.NDArray[np.int32]
    item: npt.NDArray[np.int32]
    rows: EventColumns
    state: SnapshotContent | None
    generation: int
    dislikes: dict[str, set[str]] = field(default_factory=dict)

    def engine(
        self, space: ProfileSpace, *, time_unit: str, released: ReleasedStatistics | None = None
    ) -> RecommendationEngine:
        """Builds the state, all of it or only what the copy does not know.

        Args:
            space: Item vectors and adapter.
            time_unit: "days" or "order".
            released: What the federation knows of other shops' users.
        """
        interactions, sources = (
            self._fresh(space, time_unit)
            if self.state is None
            else self._copied(self.state, space, time_unit)
        )
        # Never in the copy on the disk: a newer release may have been installed since.
        sources = with_federation(sources, released, self.items, interactions)
        known = 0 if self.state is None else self.state.last_key
        engine = RecommendationEngine(
            items=self.items,
            users=self.user_ids,
            segments=self.segments,
            interactions=interactions,
            sources=sources,
            last_key=int(self.rows.key.max(initial=known)),
            generation=self.generation,
        )
        engine.dislikes = self.dislikes
        if self.state is not None:
            engine.sorted_key, engine.events_since_refresh = known, len(self.rows)
        return engine

    def _fresh(self, space: ProfileSpace, time_unit: str) -> tuple[Interactions, SignalSources]:
        interactions = Interactions.build(
            self.user, self.item, self.rows, n_users=len(self.user_ids)
        )
        history = interactions.history(len(self.items))
        local = behaviour_recommenders(time_unit)
        fitted = {name: recommender.fit(history) for name, recommender in local.items()}
        return interactions, SignalSources(fitted, space, time_unit)

    def _copied(
        self, state: SnapshotContent, space: ProfileSpace, time_unit: str
    ) -> tuple[Interactions, SignalSources]:
        interactions, local = state.interactions, state.local
        popularity = popularity_of(local)
        popularity.grow(len(self.items))
        users, events = UserEvents.of(self.user, self.item, self.rows)
        for place, user in enumerate(users.tolist()):
            one = events.select(slice(place, place + 1))
            before = interactions.of(user)
            popularity.add(
                int(one.item[0]),
                int(one.event_type[0]),
                before=before.event_type[before.item == one.item[0]],
            )
            interactions.append(user, one)
        return interactions, SignalSources(local, space, time_unit)


def with_federation(
    sources: SignalSources,
    released: ReleasedStatistics | None,
    items: ItemTable,
    interactions: Interactions,
) -> SignalSources:
    """Adds what a federation released, on the shop's own items and with its users in the pairs."""
    n_items = len(items)
    federated = FederatedStatistics.of(released, items.rows, interactions, n_items=n_items)
    pairs = fit_pairs(interactions.history(n_items), federated, time_unit=sources.time_unit)
    return replace(sources, federated=federated, federated_ease=pairs)


def load_state(store: Store, snapshot: Snapshot | None) -> LoadedShop:
    """Reads the database, events only from where the copy on the disk ends; None reads all."""
    state = None
    if snapshot is not None:
        generation, unit = int(store.fact(GENERATION) or 0), store.fact("time_unit") or "days"
        state = snapshot.load(generation=generation, time_unit=unit)
    # One transaction: an event between two reads would name a user that is not in the list.
    with store.reading() as connection:
        if state is not None and stored_generation(connection) != state.generation:
            state = None  # changed since the copy was looked at
        return load_shop(connection, state)


def stored_generation(connection: sa.Connection) -> int:
    """Returns how many changes and deletions there were."""
    return int(read_fact(connection, GENERATION) or 0)


def load_shop(connection: sa.Connection, state: SnapshotContent | None) -> LoadedShop:
    """Reads what a copy of the state does not know, in the transaction of a connection."""
    generation = stored_generation(connection)
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
    return LoadedShop(
        items=ItemTable(table),
        user_ids=user_ids,
        segments={user.user_id: user.segment for _, user in users if user.segment},
        user=_rows_of(rows.user, [(key, user.user_id) for key, user in users], user_ids),
        item=_rows_of(rows.item, [(key, item.item_id) for key, item in items], item_ids),
        rows=rows,
        state=state,
        generation=generation,
        dislikes=read_dislikes(connection),
    )


def _order(ids: list[str], known: list[str | None] | None) -> list[str | None]:
    """Puts ids in the rows that the copy has them in, new ones behind."""
    if known is None:
        return list(ids)
    placed, stored = set(known), set(ids)
    in_place = [name if name in stored else None for name in known]
    return [*in_place, *(name for name in ids if name not in placed)]


def _rows_of(
    keys: npt.NDArray[np.int64], keyed: list[tuple[int, str]], ids: Sequence[str | None]
) -> npt.NDArray[np.int32]:
    """Translates keys of the database to rows."""
    row_of = {name: row for row, name in enumerate(ids)}
    stored = np.array([key for key, _ in keyed], dtype=np.int64)
    rows = np.array([row_of[name] for _, name in keyed], dtype=np.int32)
    return rows[np.searchsorted(stored, keys)] if len(keys) else np.zeros(0, np.int32)
