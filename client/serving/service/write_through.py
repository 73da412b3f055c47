"""Writes every change to the database first, then to the memory, so that both hold the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import sqlalchemy as sa

from client.serving.analytics.ab_test import OnlineCounters
from client.serving.analytics.metrics import Metrics
from client.serving.analytics.outcomes import amount_in_shop
from client.serving.features.text_vectors import TextVectors
from client.serving.state.engine import RecommendationEngine
from client.serving.state.snapshot import Snapshot
from client.store import changes as writing
from client.store.consent import set_consent
from client.store.dislikes import set_dislike
from client.store.reading import last_event_key, read_events
from client.store.schema import Event, EventColumns, Item, User, check_dates
from client.store.schema import items as item_table
from client.store.schema import users as user_table
from client.store.store import Store
from client.store.suppression import readmit_user
from shared.interactions.events import EVENT_TYPES


class WriteThrough:
    """A shop's database and the state in memory that is built from it.

    Every change returns a future that is done when the change is on the disk and the next answer
    knows it.

    Args:
        store: The database.
        engine: The state in memory, built from it.
        texts: Encodes new items.
        snapshot: The copy of the state on the disk, which a deletion makes void.
    """

    def __init__(
        self, store: Store, engine: RecommendationEngine, *, texts: TextVectors, snapshot: Snapshot
    ) -> None:
        self.store = store
        self.engine = engine
        self.texts = texts
        self.snapshot = snapshot
        self.metrics = Metrics()
        self.online = OnlineCounters(lambda event: amount_in_shop(engine.items, event))

    def add_events(self, events: Sequence[Event]) -> Future[list[Event]]:
        """Stores events and learns from those that are new; gives the new ones."""

        def store(connection: sa.Connection) -> tuple[list[Event], int]:
            return writing.add_events(connection, events), last_event_key(connection)

        def learn(stored: tuple[list[Event], int]) -> list[Event]:
            fresh, last_key = stored
            self.engine.add_events(fresh, last_key)
            self.online.learn(fresh)
            for event in fresh:
                self.metrics.events.labels(EVENT_TYPES[event.event_type]).inc()
            return fresh

        return self.store.write(store, learn)

    def replace_events(self, events: Sequence[Event]) -> Future[Any]:
        """Puts events in place of those with the same ids."""
        return self._edit(
            lambda c: _read_users_events(c, writing.replace_events(c, events)), self._reload_users
        )

    def delete_event(self, event_id: str) -> Future[Any]:
        """Deletes one event."""
        return self._edit(
            lambda c: _read_users_events(c, {writing.delete_event(c, event_id)}), self._reload_users
        )

    def delete_events_where(self, user_id: str, condition: sa.ColumnElement[bool]) -> Future[int]:
        """Deletes those of a user's events that meet a condition; gives how many those were."""

        def delete(connection: sa.Connection) -> tuple[int, dict[str, Any]]:
            n = writing.delete_events_where(connection, user_id, condition)
            return n, _read_users_events(connection, {user_id})

        def follow(deleted: tuple[int, dict[str, Any]]) -> int:
            n, events = deleted
            self._reload_users(events)
            return n

        return self._edit(delete, follow)

    def add_items(self, items: Sequence[Item], *, replace: bool) -> Future[Any]:
        """Stores items and shows them from the next answer on.

        Args:
            items: Of those with the same id the last counts where they replace.
            replace: Whether items of the same ids are replaced; else they are refused.
        """
        if replace:
            items = list({item.item_id: item for item in items}.values())
        # Before the transaction: encoding takes longer than the database may be locked.
        vectors = np.stack([self.texts.of_query(item.encoded_text) for item in items])
        change = writing.put_items if replace else writing.add_items
        return self.store.write(
            lambda c: change(c, items), lambda _: self.engine.put_items(items, vectors)
        )

    def change_item(self, item_id: str, values: dict[str, Any]) -> Future[Item]:
        """Changes some of an item's attributes and leaves the others as they are.

        Args:
            item_id: The item.
            values: By the names of `Item`, without its id.

        The future raises `DataError` where it would end before it begins; nothing is changed.
        """
        worded = "text" in values or "title" in values

        def change(connection: sa.Connection) -> Item:
            # Read within the transaction: of two changes at once neither may undo the other.
            item = dataclasses.replace(writing.item_of(connection, item_id), **values)
            check_dates(item)
            writing.put_items(connection, [item])
            return item

        def follow(item: Item) -> Item:
            if worded:
                self.engine.put_items([item], self.texts.of_query(item.encoded_text)[None])
            else:
                self.engine.describe_items([item])
            return item

        return self.store.write(change, follow)

    def delete_item(self, item_id: str) -> Future[Any]:
        """Deletes an item with its events."""
        return self._edit(
            lambda c: writing.delete_item(c, item_id), lambda _: self.engine.delete_item(item_id)
        )

    def add_users(self, users: Sequence[User], *, replace: bool) -> Future[Any]:
        """Stores users."""
        change = writing.put_users if replace else writing.add_users
        return self.store.write(lambda c: change(c, users), lambda _: self.engine.put_users(users))

    def delete_user(self, user_id: str) -> Future[int]:
        """Deletes a user with everything that is known; gives the number of events."""

        def forget(events: int) -> int:
            self.engine.forget(user_id)
            self.online.forget(user_id)
            self.user_deleted(user_id)
            return events

        return self._edit(lambda c: writing.delete_user(c, user_id), forget)

    def user_deleted(self, user_id: str) -> None:
        """Does what a deletion asks for beyond database and memory."""

    def set_dislike(self, user_id: str, item_id: str, *, disliked: bool) -> Future[None]:
        """Stores that a user does not like an item, or takes it back."""
        return self.store.write(
            lambda c: set_dislike(c, user_id, item_id, disliked=disliked),
            lambda _: self.engine.set_dislike(user_id, item_id, disliked=disliked),
        )

    def set_consent(self, user_id: str, training: bool | None) -> Future[None]:
        """Stores whether a user may be trained on; None for the store's default."""
        return self.store.write(lambda c: set_consent(c, user_id, training))

    def readmit_user(self, user_id: str) -> Future[bool]:
        """Lets a user who was deleted in again; gives whether there was one."""
        return self.store.write(lambda c: readmit_user(c, user_id))

    def _edit(
        self, change: Callable[[sa.Connection], Any], then: Callable[[Any], Any]
    ) -> Future[Any]:
        """Changes or deletes what is stored; the copy of it on the disk goes too."""

        def edit(connection: sa.Connection) -> tuple[Any, int, int]:
            value = change(connection)
            return value, writing.bump_generation(connection), last_event_key(connection)

        def follow(changed: tuple[Any, int, int]) -> Any:
            outcome, generation, last_key = changed
            # One step for answers and for the copy on the disk: a copy that is written between the
            # two would bring back what was deleted.
            with self.engine.lock:
                result = then(outcome)
                # Another process wrote in between where more than one was counted: the state stays
                # marked as older than the database, until that is read again.
                known = self.engine.generation
                self.engine.changed(generation if generation == known + 1 else known, last_key)
                self.snapshot.discard()
            return result

        return self.store.write(edit, follow)

    def _reload_users(self, changed: dict[str, tuple[EventColumns, list[str]]]) -> None:
        for user_id, (rows, item_ids) in changed.items():
            items = np.array([self.engine.items.rows[i] for i in item_ids], dtype=np.int32)
            self.engine.replace_user(user_id, rows, items)


def _read_users_events(
    connection: sa.Connection, user_ids: set[str]
) -> dict[str, tuple[EventColumns, list[str]]]:
    """Reads users' events anew, with the ids of their items."""
    events_by_user = {}
    for user_id, key in writing.keys_of(connection, user_table, user_ids).items():
        rows = read_events(connection, user_key=key)
        chosen = sa.select(item_table.c.item_key, item_table.c.item_id).where(
            item_table.c.item_key.in_(np.unique(rows.item).tolist())
        )
        names = {row[0]: str(row[1]) for row in connection.execute(chosen)}
        events_by_user[user_id] = rows, [names[item_key] for item_key in rows.item.tolist()]
    return events_by_user
