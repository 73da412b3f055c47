"""Reads, checks and sets a new adapter while answers go on with the old one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from client.recommenders.tables.item_vectors import ItemVectors, ProfileSpace
from client.serving.features.federated_statistics import (
    FederatedStatistics,
    fit_pairs,
)
from client.serving.features.text_vectors import TextVectors, space_of_adapter
from client.serving.ranking.weight_learning import LearnedFusion, learn_fusion_weights
from client.serving.service.serving_bundle import (
    NODE_FILE,
    ServingBundle,
    read_serving_bundle,
    watched_file,
)
from client.serving.service.write_through import WriteThrough
from client.serving.state.engine import RecommendationEngine
from shared.errors import FedprofileError, ModelError

OnReloaded = Callable[[TextVectors, LearnedFusion], None]
FileMark = tuple[int, int, int]
"""What tells one adapter's file from the next: inode, time and size."""


class ReloadBusyError(ModelError):
    """Another adapter or the database is being read; this adapter was not looked at."""


@dataclass(frozen=True)
class ReloadProgress:
    """How far the next adapter is.

    Attributes:
        state: `none`, `encoding`, `learning`, `in place` or `refused`.
        adapter: Its folder's name.
        done: Items encoded.
        total: Items in all.
        problem: Why it was refused, "" for nothing.
    """

    state: str = "none"
    adapter: str = ""
    done: int = 0
    total: int = 0
    problem: str = ""


class AdapterReloader:
    """Builds the space of an adapter folder in the caller's thread and sets it in the engine.

    Args:
        service: Whose adapter is replaced.
        ready: Gets the new encoder of texts and the new weights, once they are in place.
    """

    def __init__(self, service: WriteThrough, ready: OnReloaded) -> None:
        self._service = service
        self._ready = ready
        self._reloading = threading.Lock()
        self.progress = ReloadProgress()

    @contextmanager
    def held_off(self) -> Iterator[bool]:
        """Lets no adapter be put in place meanwhile; gives False at once where one is already."""
        # What numbers the items anew may not run beside what is computed for their old rows.
        held = self._reloading.acquire(blocking=False)
        try:
            yield held
        finally:
            if held:
                self._reloading.release()

    def reload(self, folder: Path) -> None:
        """Reads an adapter, encodes all items where its base is new, learns weights and sets all.

        Raises:
            ReloadBusyError: Another one is being put in place, or the database is read again.
            ModelError: The folder is damaged, or the adapter belongs to another base; what is
                served stays as it is.
        """
        with self.held_off() as held:
            if not held:
                raise ReloadBusyError(
                    "has to wait: another adapter is being put in place, or the database is read",
                    name="adapter",
                    value=folder.name,
                    remedy="ask again in a minute",
                )
            try:
                self.progress = ReloadProgress("encoding", folder.name)
                self._build_and_set(folder)
            except FedprofileError as error:
                self.progress = replace(self.progress, state="refused", problem=str(error))
                raise

    def _build_and_set(self, folder: Path) -> None:
        bundle = read_serving_bundle(folder)
        saved = bundle.saved
        if saved is None:  # a node's first run has not come to its adapter yet
            self.progress = ReloadProgress()
            return
        self._check_base(bundle)
        engine = self._service.engine
        same = bundle.base.base_hash == engine.sources.space.base_hash
        texts = self._service.texts if same else TextVectors(bundle.base)
        with engine.lock:
            known, rows, interactions = _texts(engine), dict(engine.items.rows), engine.interactions
            vectors = engine.sources.space.vectors
        if not same:
            int8 = vectors.values is None
            vectors = ItemVectors.of(texts.of_items(known, self._encoded), int8=int8)
        time_unit = engine.sources.time_unit
        space = space_of_adapter(saved, vectors, name=bundle.name, time_unit=time_unit)
        self.progress = replace(self.progress, state="learning")
        federated = FederatedStatistics.of(bundle.released, rows, interactions, n_items=len(known))
        history = interactions.history(len(known))
        federated_ease = fit_pairs(history, federated, time_unit=time_unit)
        learned = learn_fusion_weights(
            replace(
                engine.sources, space=space, federated=federated, federated_ease=federated_ease
            ),
            interactions,
            seed=0,
            taken_types=engine.taken_types,
        )
        # The lock is reentrant: no item may come between the last encoding and the new adapter.
        with engine.lock:
            engine.set_adapter(
                _encode_changes(space, known, engine, texts),
                federated,
                federated_ease,
                learned,
            )
            self._ready(texts, learned)
        self.progress = replace(self.progress, state="in place")

    def _check_base(self, bundle: ServingBundle) -> None:
        served = self._service.engine.sources.space
        if served.has_adapter and bundle.base.base_hash != served.base_hash:
            raise ModelError(
                f"has base {bundle.base.base_hash[:16]}…, the node serves {served.base_hash[:16]}…",
                name="adapter",
                value=bundle.name,
                remedy="take an adapter of this federation, or restart "
                "`fedprofile node serve --adapter FOLDER`",
            )

    def _encoded(self, done: int, total: int) -> None:
        self.progress = replace(self.progress, done=done, total=total)


def _texts(engine: RecommendationEngine) -> list[str]:
    return ["" if item is None else item.encoded_text for item in engine.items.items]


def _encode_changes(
    space: ProfileSpace, known: list[str], engine: RecommendationEngine, texts: TextVectors
) -> ProfileSpace:
    """Encodes what was added or changed while the others were encoded."""
    present = _texts(engine)
    rows = [r for r, text in enumerate(present) if r >= len(known) or known[r] != text]
    if not rows:
        return space
    vectors = np.stack([texts.of_query(present[row]) for row in rows])
    return space.put(np.array(rows), vectors, n_items=len(present))


class AdapterWatch:
    """Notices when an adapter folder was replaced.

    A mark is taken before the folder is read and noted afterwards, so that an adapter that is
    written while the folder is read counts as a new one at the next look.

    Args:
        folder: From `save_adapter`, or a node's; None for nothing to watch. To be read after this.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._seen = self._mark()

    def changed(self) -> FileMark | None:
        """Returns the mark of an adapter that was not read yet; None for none."""
        mark = self._mark()
        return mark if mark != self._seen else None

    def forget(self) -> None:
        """Takes the adapter of a node for new: what it is served with has changed."""
        if self.folder is not None and (self.folder / NODE_FILE).exists():
            self._seen = None

    def note(self, mark: FileMark) -> None:
        """Takes an adapter for read."""
        self._seen = mark

    def _mark(self) -> FileMark | None:
        if self.folder is None:
            return None
        try:
            about = watched_file(self.folder).stat()
        except OSError:
            return None
        return about.st_ino, about.st_mtime_ns, about.st_size
