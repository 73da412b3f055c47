"""The running service: every change goes to the database first, then to the memory."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from client.serving.asking import Answer, Ask
from client.serving.engine import Engine
from client.serving.metrics import Metrics
from client.serving.mixes import Mix
from client.serving.online import Online
from client.serving.settings import ServingSettings
from client.serving.snapshot import Snapshot
from client.serving.swapping import Swapper, Watch
from client.serving.texts import TextVectors
from client.serving.weights import learn_mixes
from client.store import writing
from client.store.reading import last_event_key, read_events
from client.store.records import Event, EventColumns, Item, User
from client.store.store import Store
from client.store.tables import items as item_table
from client.store.tables import users as user_table
from shared.errors import FedprofileError
from shared.interactions.events import EVENT_TYPES

MIXES = "mixes"
"""Name of the fact that holds the learned weights."""
_log = logging.getLogger(__name__)


class Service:
    """A shop's store and engine, kept in step.

    Args:
        store: The database.
        engine: The state in memory, built from it.
        texts: Encodes new items and searches.
        settings: Of the service.
        snapshot: Where the state is kept for a quick start.
        adapter: Folder to watch for the next adapter.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        *,
        texts: TextVectors,
        settings: ServingSettings,
        snapshot: Snapshot,
        adapter: Path | None = None,
    ) -> None:
        self.store = store
        self.engine = engine
        self.texts = texts
        self.swapper = Swapper(engine, texts, self._take_adapter)
        self.watch = Watch(adapter)
        self.settings = settings
        self.snapshot = snapshot
        self.metrics = Metrics()
        self.online = Online()
        self.online.load(store.fact("online") or {})
        self.started = time.time()
        self._stop = threading.Event()
        self._background = threading.Thread(target=self._refresh, name="refresh", daemon=True)

    def start(self) -> None:
        """Begins the work in the background."""
        self._background.start()

    def close(self) -> None:
        """Stops the background and finishes all writes."""
        self._stop.set()
        if self._background.is_alive():
            self._background.join(timeout=30)
        self._keep_counters()
        self.engine.refresh()
        self.snapshot.save(self.engine)
        self.store.close()

    def recommend(self, ask: Ask, user_id: str | None, cart: Sequence[str] | None = None) -> Answer:
        """Ranks items without what the shop denies; see `Engine.recommend`."""
        if self.settings.deny:
            ask = replace(ask, exclude=(*ask.exclude, *self.settings.deny))
        self.metrics.recommended.labels(ask.surface, ask.variant).inc()
        events = None if cart is None else self.engine.cart(cart)
        return self.engine.recommend(ask, user_id, events)

    def shown(self, user_id: str, answer: Answer, ask: Ask, found: dict[str, Any]) -> None:
        """Counts the items that a known user gets to see."""
        if user_id in self.engine.users:
            item_ids = [entry["item_id"] for entry in found["items"]]
            self.online.show(user_id, answer, item_ids, (ask.surface, ask.variant))

    def status(self) -> dict[str, Any]:
        """Says what is loaded, how signals are fused and what that is worth."""
        engine = self.engine
        with engine.lock:
            space = engine.sources.space
            return {
                "adapter": space.adapter or None,
                "releases": dict(engine.sources.outside.releases),
                "next_adapter": asdict(self.swapper.progress),
                "base_hash": space.base_hash,
                "time_unit": engine.sources.unit,
                "items": len(engine.items.rows),
                "users": len(engine.users),
                "events": engine.histories.n_events,
                "events_since_refresh": engine.events_since,
                "weights": {surface: mix.to_json() for surface, mix in engine.mixes.items()},
            }

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
            lambda c: _histories(c, writing.replace_events(c, events)), self._take_histories
        )

    def delete_event(self, event_id: str) -> Future[Any]:
        """Deletes one event."""
        return self._edit(
            lambda c: _histories(c, {writing.delete_event(c, event_id)}), self._take_histories
        )

    def _edit(
        self, change: Callable[[sa.Connection], Any], then: Callable[[Any], Any]
    ) -> Future[Any]:
        """Changes or deletes what is stored; the copy of it on the disk goes too."""

        def edit(connection: sa.Connection) -> tuple[Any, int, int]:
            value = change(connection)
            return value, writing.bump_generation(connection), last_event_key(connection)

        def follow(changed: tuple[Any, int, int]) -> Any:
            value, generation, last_key = changed
            with self.engine.lock:
                found = then(value)
                self.engine.changed(generation, last_key)
                self.snapshot.discard()
            return found

        return self.store.write(edit, follow)

    def _take_histories(self, changed: dict[str, tuple[EventColumns, list[str]]]) -> None:
        for user_id, (rows, item_ids) in changed.items():
            items = np.array([self.engine.items.rows[i] for i in item_ids], dtype=np.int32)
            self.engine.replace_user(user_id, rows, items)

    def add_items(self, items: Sequence[Item], *, replace: bool) -> Future[Any]:
        """Stores items and shows them from the next answer on."""
        vectors = np.stack([self.texts.of_query(item.text) for item in items])
        change = writing.put_items if replace else writing.add_items
        return self.store.write(
            lambda c: change(c, items), lambda _: self.engine.put_items(items, vectors)
        )

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
            return events

        return self._edit(lambda c: writing.delete_user(c, user_id), forget)

    def variant_of(self, user_id: str | None) -> str:
        """Returns `local` for the share of users who get no global model, else `fused`."""
        share = self.settings.local_share
        if not share or user_id is None:
            return "fused"
        digest = hashlib.sha256(f"fedprofile-ab-1\x1f{user_id}".encode()).digest()
        return "local" if int.from_bytes(digest[:8], "big") / 2**64 < share else "fused"

    def swap_adapter(self, folder: Path) -> None:
        """Puts another adapter in place; answers go on meanwhile.

        Raises:
            ModelError: As `Swapper.swap`.
        """
        self.swapper.swap(folder)

    def _take_adapter(self, texts: TextVectors, mixes: dict[str, Mix]) -> None:
        self.texts = texts
        self.metrics.swaps.inc()
        self._keep_mixes(mixes)

    def _keep_mixes(self, mixes: dict[str, Mix]) -> Future[Any]:
        plain = {surface: mix.to_json() for surface, mix in mixes.items()}
        model = self.engine.sources.model
        return self.store.set_fact(MIXES, {"model": model, "mixes": plain})

    def take_kept_mixes(self) -> bool:
        """Takes the stored weights; False where none were learned for what is loaded."""
        kept = self.store.fact(MIXES)
        if kept is None or kept["model"] != self.engine.sources.model:
            return False
        self.engine.set_mixes({name: Mix(**mix) for name, mix in kept["mixes"].items()})
        return True

    def learn(self, seed: int = 0) -> None:
        """Learns the fusion weights from the present events and stores them."""
        engine = self.engine
        rng = np.random.default_rng(seed)
        mixes = learn_mixes(engine.sources, engine.histories, rng=rng)
        engine.set_mixes(mixes)
        self._keep_mixes(mixes).result()

    def _refresh(self) -> None:
        try:
            if not self.take_kept_mixes():
                self.learn()
        except FedprofileError as error:
            _log.warning("weights: %s", error)
        while not self._stop.wait(self.settings.refresh_seconds):
            self._follow_adapter()
            begun = time.perf_counter()
            if self.engine.refresh():
                self.metrics.refresh_seconds.set(time.perf_counter() - begun)
            self._keep_counters()

    def _follow_adapter(self) -> None:
        folder = self.watch.folder
        if folder is None or not self.watch.changed():
            return
        try:
            self.swapper.swap(folder)
        except FedprofileError as error:
            _log.warning("adapter: %s", error)

    def _keep_counters(self) -> None:
        if not self.online.changed:
            return
        try:
            self.store.set_fact("online", self.online.state()).result()
        except FedprofileError as error:
            self.online.changed = True
            _log.warning("online counters: %s", error)


def _histories(
    connection: sa.Connection, user_ids: set[str]
) -> dict[str, tuple[EventColumns, list[str]]]:
    """Reads users' events anew, with the ids of their items."""
    found = {}
    for user_id, key in writing.keys_of(connection, user_table, user_ids).items():
        rows = read_events(connection, user_key=key)
        chosen = sa.select(item_table.c.item_key, item_table.c.item_id).where(
            item_table.c.item_key.in_(np.unique(rows.item).tolist())
        )
        names = {row[0]: str(row[1]) for row in connection.execute(chosen)}
        found[user_id] = rows, [names[item_key] for item_key in rows.item.tolist()]
    return found
