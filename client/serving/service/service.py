"""The running service: recommends, counts impressions, and follows events and adapters."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

from client.recommenders.visits import taken_types, type_names
from client.serving.analytics.shop_uses import ShopUses
from client.serving.features.text_vectors import TextVectors
from client.serving.ranking.weight_learning import LearnedFusion, learn_fusion_weights
from client.serving.service.adapter_reload import AdapterReloader, AdapterWatch, ReloadBusyError
from client.serving.service.database_reload import DatabaseReload
from client.serving.service.recommending import Recommending
from client.serving.service.rule_book import RuleBook
from client.serving.service.serving_bundle import drop_own_pairs
from client.serving.service.settings import ServingSettings
from client.serving.service.write_through import WriteThrough
from client.serving.state.bought_together import BoughtTogether
from client.serving.state.engine import RecommendationEngine
from client.serving.state.refresh import refresh_engine
from client.serving.state.snapshot import Snapshot
from client.serving.state.user_index import UserIndex
from client.store.changes import NODE_FACT
from client.store.consent import consent_counts, remove_expired
from client.store.store import Store
from shared.errors import ConfigError, FedprofileError

SNAPSHOT_EVENTS = 100_000
"""Events beyond the copy on the disk from which it is written before its time."""
EXPIRY_SECONDS = 3600.0
"""Between two looks for events that are older than the shop holds them."""
_log = logging.getLogger(__name__)


class BackgroundWork:
    """Regular work of a service in a thread of its own.

    Args:
        service: Whose work it is.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="background", daemon=True)
        self._saved_at = time.monotonic()

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the piece of work at hand."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def _run(self) -> None:
        service = self._service
        try:
            # In the background: public weights serve until thousands of queries are scored.
            if not service.load_stored_weights():
                service.learn()
            service.texts.warm()
            service.user_index.refresh()
            service.uses.prepare()
            service.bought_together.refresh()
        except FedprofileError as error:
            _log.warning("start: %s", error)
        if not service.snapshot.exists:
            self._save()
        while not self._stop.wait(service.settings.refresh_seconds):
            service.remove_expired()
            service.follow_database()
            service.follow_adapter()
            begun = time.perf_counter()
            if refresh_engine(service.engine):
                service.metrics.refresh_seconds.set(time.perf_counter() - begun)
            service.user_index.refresh()
            service.uses.refresh()
            service.bought_together.refresh()
            service.store_counters()
            if self._save_is_due():
                self._save()

    def _save_is_due(self) -> bool:
        service = self._service
        if service.snapshot.fits(service.engine):
            return False
        waited = time.monotonic() - self._saved_at >= service.settings.snapshot_seconds
        return waited or service.snapshot.behind(service.engine) >= SNAPSHOT_EVENTS

    def _save(self) -> None:
        self._service.snapshot.save(self._service.engine)
        self._saved_at = time.monotonic()


DENIED_FACT = "denied"
"""Name of the fact that holds the ids denied over HTTP."""
WEIGHTS_FACT = "mixes"
"""Name of the fact that holds the learned weights, in databases of version 0.1 too."""


class Service(Recommending, WriteThrough):
    """A shop's store and engine, which hold the same, with all that is done with them.

    Args:
        store: The database.
        engine: The state in memory, built from it.
        texts: Encodes new items and searches.
        settings: Of the service.
        snapshot: Where the state is stored for a quick start.
        watch: Of the folder of the next adapter, begun before that was read; None for none.
    """

    def __init__(
        self,
        store: Store,
        engine: RecommendationEngine,
        *,
        texts: TextVectors,
        settings: ServingSettings,
        snapshot: Snapshot,
        watch: AdapterWatch | None = None,
    ) -> None:
        super().__init__(store, engine, texts=texts, snapshot=snapshot)
        self.observations = self.metrics
        self.database_reload = DatabaseReload(self)
        self._expires_at = time.monotonic()
        self.reloader = AdapterReloader(self, self._adapter_reloaded)
        self.watch = watch or AdapterWatch(None)
        self.settings = settings
        self.rule_book = RuleBook(store, engine)
        engine.taken_types = taken_types(
            settings.target_types, engine.interactions.columns.event_type
        )
        self.online.load(store.fact("online") or {})
        self.started = time.time()
        self.user_index = UserIndex(engine)
        self.uses = ShopUses(
            store,
            taken=lambda: engine.taken_types,
            mark=self._uses_mark,
        )
        self.bought_together = BoughtTogether(engine)
        self._background = BackgroundWork(self)

    def start(self) -> None:
        """Begins the work in the background."""
        self._background.start()

    def close(self) -> None:
        """Stops the background and finishes all writes."""
        self.uses.stop()
        self._background.stop()
        self.store_counters()
        refresh_engine(self.engine)
        self.snapshot.save(self.engine)
        self.store.close()

    def count_shown(
        self, user_id: str, leading: list[int], item_ids: list[str], where: tuple[str, str]
    ) -> None:
        """Counts what a user gets to see; see `OnlineCounters.show`."""
        self.online.show(user_id, leading, item_ids, where)

    def status(self) -> dict[str, Any]:
        """Says what is loaded, how signals are fused and what that is worth."""
        engine = self.engine
        with engine.lock:
            space = engine.sources.space
            return {
                "adapter": space.adapter or None,
                "releases": dict(engine.sources.federated.releases),
                "own_part_of_pairs": engine.sources.federated.own_contribution_source,
                "next_adapter": asdict(self.reloader.progress),
                "base_hash": space.base_hash,
                "time_unit": engine.sources.time_unit,
                "target_types": type_names(engine.taken_types),
                "items": len(engine.items.rows),
                "users": len(engine.users),
                "events": engine.interactions.n_events,
                "events_since_refresh": engine.events_since_refresh,
                "weights": {
                    surface: weights.to_json() for surface, weights in engine.fusion_weights.items()
                },
            }

    def load_denied(self) -> None:
        """Denies the items of the settings and those that were denied over HTTP.

        Raises:
            ConfigError: The settings name one that is not in the catalogue.
        """
        rows = self.engine.items.rows
        unknown = [item_id for item_id in self.settings.deny if item_id not in rows]
        if unknown:
            raise ConfigError(
                "is not in the catalogue",
                name="deny",
                value=repr(unknown[0]),
                remedy="check its spelling, or import the item first",
            )
        stored = self.store.fact(DENIED_FACT) or {"items": []}
        alive = [item_id for item_id in stored["items"] if item_id in rows]
        self.engine.deny_items([*self.settings.deny, *alive])

    def deny(self, item_ids: Sequence[str]) -> Future[Any]:
        """Shows these items nowhere from the next answer on, and those denied before again.

        Raises:
            UnknownError: One is not in the catalogue; nothing is changed then.
        """
        self.engine.deny_items([*self.settings.deny, *item_ids])
        return self.store.set_fact(DENIED_FACT, {"items": sorted(set(item_ids))})

    def reload_adapter(self, folder: Path) -> None:
        """Replaces the adapter; answers go on with the old one until the new one is complete.

        Raises:
            ModelError: As `AdapterReloader.reload`.
        """
        self.reloader.reload(folder)

    def follow_adapter(self) -> None:
        """Reloads the adapter of the watched folder where it is a new one.

        One that is refused is not tried again until there is another.
        """
        folder, mark = self.watch.folder, self.watch.changed()
        if folder is None or mark is None:
            return
        try:
            self.reloader.reload(folder)
        except ReloadBusyError:
            return  # not noted, so that the next look tries it
        except FedprofileError as error:
            _log.warning("adapter: %s", error)
        self.watch.note(mark)

    def user_deleted(self, user_id: str) -> None:
        """Drops the sums that the shop's node keeps without noise: the user is in them.

        What takes them out of the released pairs is computed anew with the next look at the node.
        """
        self.uses.forget(user_id)
        folders = {self.store.fact(NODE_FACT), self.watch.folder}
        for folder in folders - {None}:
            drop_own_pairs(Path(str(folder)))
        self.watch.forget()

    def _uses_mark(self) -> object:
        """Returns what changes with every event, and with what users say of training."""
        with self.store.reading() as connection:
            said = consent_counts(connection)
        return self.engine.last_key, self.engine.generation, said

    def remove_expired(self) -> None:
        """Deletes events that are older than the shop holds them, once an hour."""
        if time.monotonic() < self._expires_at:
            return
        self._expires_at = time.monotonic() + EXPIRY_SECONDS
        try:
            self.store.write(remove_expired).result()
        except FedprofileError as error:
            _log.warning("retention: %s", error)

    def follow_database(self) -> None:
        """Takes in what another process wrote, such as an import by night.

        Not while an adapter is being put in place: the next look tries it.
        """
        try:
            with self.reloader.held_off() as held:
                if held and self.database_reload.is_due():
                    self.database_reload.run()
        except FedprofileError as error:
            _log.warning("database: %s", error)

    def _adapter_reloaded(self, texts: TextVectors, learned: LearnedFusion) -> None:
        self.texts = texts
        self.metrics.swaps.inc()
        self._store_weights(learned)

    def _store_weights(self, learned: LearnedFusion) -> Future[Any]:
        model = self.engine.sources.model
        return self.store.set_fact(WEIGHTS_FACT, {"model": model, **learned.to_json()})

    def load_stored_weights(self) -> bool:
        """Takes the stored weights; False where none were learned for what is loaded."""
        stored = self.store.fact(WEIGHTS_FACT)
        if stored is None or stored["model"] != self.engine.sources.model:
            return False
        self.engine.set_learned(LearnedFusion.from_json(stored))
        return True

    def learn(self, seed: int = 0, *, validation_start: float | None = None) -> None:
        """Learns fusion weights and text map from the present events and stores them.

        Args:
            seed: As `learn_fusion_weights`.
            validation_start: As `learn_fusion_weights`.
        """
        engine = self.engine
        learned = learn_fusion_weights(
            engine.sources,
            engine.interactions,
            seed=seed,
            validation_start=validation_start,
            taken_types=engine.taken_types,
        )
        engine.set_learned(learned)
        self._store_weights(learned).result()

    def store_counters(self) -> None:
        """Stores the online counters where they changed."""
        if not self.online.changed:
            return
        try:
            self.store.set_fact("online", self.online.state()).result()
        except FedprofileError as error:
            self.online.changed = True
            _log.warning("online counters: %s", error)
