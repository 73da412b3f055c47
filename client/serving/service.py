"""The running service: answers, counts what it shows, and follows events and adapters."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from client.serving.asking import Answer, Ask
from client.serving.background import Background
from client.serving.engine import Engine
from client.serving.in_step import InStep
from client.serving.mixes import Mix
from client.serving.settings import ServingSettings
from client.serving.snapshot import Snapshot
from client.serving.swapping import BusyError, Swapper, Watch
from client.serving.texts import TextVectors
from client.serving.variants import variant_of
from client.serving.weights import learn_mixes
from client.store.store import Store
from shared.errors import FedprofileError

MIXES = "mixes"
"""Name of the fact that holds the learned weights."""
_log = logging.getLogger(__name__)


class Service(InStep):
    """A shop's store and engine, kept in step, with all that is done with them.

    Args:
        store: The database.
        engine: The state in memory, built from it.
        texts: Encodes new items and searches.
        settings: Of the service.
        snapshot: Where the state is kept for a quick start.
        watch: Of the folder of the next adapter, begun before that was read; None for none.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        *,
        texts: TextVectors,
        settings: ServingSettings,
        snapshot: Snapshot,
        watch: Watch | None = None,
    ) -> None:
        super().__init__(store, engine, texts=texts, snapshot=snapshot)
        self.swapper = Swapper(engine, texts, self._take_adapter)
        self.watch = watch or Watch(None)
        self.settings = settings
        self.online.load(store.fact("online") or {})
        self.started = time.time()
        self._background = Background(self)

    def start(self) -> None:
        """Begins the work in the background."""
        self._background.start()

    def close(self) -> None:
        """Stops the background and finishes all writes."""
        self._background.stop()
        self.keep_counters()
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
        """Counts the items that a user with a name gets to see."""
        item_ids = [entry["item_id"] for entry in found["items"]]
        self.online.show(user_id, answer, item_ids, (ask.surface, ask.variant))

    def variant_of(self, user_id: str | None) -> str:
        """Returns `local` for the share of users who get no global model, else `fused`."""
        return variant_of(user_id, local_share=self.settings.local_share)

    def status(self) -> dict[str, Any]:
        """Says what is loaded, how signals are fused and what that is worth."""
        engine = self.engine
        with engine.lock:
            space = engine.sources.space
            return {
                "adapter": space.adapter or None,
                "releases": dict(engine.sources.outside.releases),
                "own_part_of_pairs": engine.sources.outside.own_part,
                "next_adapter": asdict(self.swapper.progress),
                "base_hash": space.base_hash,
                "time_unit": engine.sources.unit,
                "items": len(engine.items.rows),
                "users": len(engine.users),
                "events": engine.histories.n_events,
                "events_since_refresh": engine.events_since,
                "weights": {surface: mix.to_json() for surface, mix in engine.mixes.items()},
            }

    def swap_adapter(self, folder: Path) -> None:
        """Puts another adapter in place; answers go on meanwhile.

        Raises:
            ModelError: As `Swapper.swap`.
        """
        self.swapper.swap(folder)

    def follow_adapter(self) -> None:
        """Puts the adapter in place that lies in the watched folder, where it is a new one.

        One that is refused is not tried again until there is another.
        """
        folder, mark = self.watch.folder, self.watch.changed()
        if folder is None or mark is None:
            return
        try:
            self.swapper.swap(folder)
        except BusyError:
            return  # this one's turn comes with the next look
        except FedprofileError as error:
            _log.warning("adapter: %s", error)
        self.watch.note(mark)

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

    def keep_counters(self) -> None:
        """Stores the online counters where they changed."""
        if not self.online.changed:
            return
        try:
            self.store.set_fact("online", self.online.state()).result()
        except FedprofileError as error:
            self.online.changed = True
            _log.warning("online counters: %s", error)
