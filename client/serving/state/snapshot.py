"""A copy of the sorted state on the disk, so that a start need not read every event again.

It holds personal data: only its owner may read it, and it goes whenever anything stored is changed
or deleted. It is never needed: without it, the state is built from the database.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from sqlalchemy.engine import make_url

from client.recommenders.ease import EASE
from client.recommenders.interface import ServedRecommender
from client.recommenders.item_knn import ItemKNN
from client.recommenders.local import behaviour_recommenders
from client.recommenders.popularity import Popularity
from client.recommenders.sequence import Sequence
from client.recommenders.tables.neighbours import Neighbours
from client.serving.features.interactions import Interactions, UserEvents
from client.serving.state.engine import RecommendationEngine
from shared.errors import StorageError
from shared.runtime.environment import cache_folder
from shared.runtime.file_store import NUMPY_HEADER_LOCK, remove_drafts, write_atomic

FORMAT = 2
"""Raised with every change of what is computed, so that older copies are void."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class SnapshotContent:
    """What a copy holds.

    Attributes:
        user_ids: By row, None for a deleted user.
        item_ids: By row, None for a deleted item.
        interactions: Sorted, nobody changed since.
        local: Recommenders of these histories.
        last_key: `event_key` up to which it goes.
    """

    user_ids: list[str | None]
    item_ids: list[str | None]
    interactions: Interactions
    local: dict[str, ServedRecommender]
    last_key: int


class Snapshot:
    """One file.

    Args:
        path: Its folder is created where absent.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written: tuple[int, int] | None = None

    @staticmethod
    def beside(url: str) -> Snapshot:
        """Returns the place for a database: beside a SQLite file, else in the cache folder."""
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            return Snapshot(Path(f"{parsed.database}.state.npz"))
        name = hashlib.sha256(url.encode()).hexdigest()[:16]
        return Snapshot(cache_folder() / "serving" / f"{name}.state.npz")

    def discard(self) -> None:
        """Removes the file."""
        self._written = None
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def fits(self, engine: RecommendationEngine) -> bool:
        """Says whether the file holds all that an engine knows."""
        return self._written == (engine.generation, engine.last_key)

    def behind(self, engine: RecommendationEngine) -> int:
        """Returns how many events an engine knows beyond the file, 0 without a file."""
        return 0 if self._written is None else engine.last_key - self._written[1]

    @property
    def exists(self) -> bool:
        """Whether the file was read or written and nothing was deleted since."""
        return self._written is not None

    def save(self, engine: RecommendationEngine) -> None:
        """Writes the sorted state; a disk that is full costs the next start time, no more."""
        try:
            self._write(engine)
        except StorageError as error:
            _log.warning("%s; the next start is slow", error.message)

    def load(self, *, generation: int, time_unit: str) -> SnapshotContent | None:
        """Reads the file, None where it is absent, damaged or of another generation."""
        self._sweep()
        try:
            # Without pickle: whoever can write the file must not be able to run code.
            with NUMPY_HEADER_LOCK, np.load(self.path, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                asked = FORMAT, generation, time_unit
                if (about["format"], about["generation"], about["time_unit"]) != asked:
                    return None
                state = _read(file, about)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        self._written = generation, state.last_key
        return state

    def _sweep(self) -> None:
        """Removes what a killed process was writing: it may hold a user who is deleted since."""
        remove_drafts(self.path)

    def _write(self, engine: RecommendationEngine) -> None:
        with engine.lock:
            # The sorted events may hold something that was deleted since the last refresh.
            if engine.sorted_generation != engine.generation:
                return
            interactions, generation = engine.interactions, engine.generation
            rows = {row: user_id for user_id, row in engine.users.items()}
            about: dict[str, Any] = {
                "format": FORMAT,
                "generation": generation,
                "last_key": engine.sorted_key,
                "time_unit": engine.sources.time_unit,
                "users": [rows.get(row) for row in range(len(interactions))],
                "items": [None if i is None else i.item_id for i in engine.items.items],
            }
            local = dict(engine.sources.local)
        # The engine's own counts go beyond the sorted events.
        local["popularity"] = Popularity().fit(interactions.history(len(about["items"])))
        arrays: dict[str, Any] = {
            "starts": interactions.starts,
            "about": np.array(json.dumps(about)),
        }
        arrays |= {f.name: getattr(interactions.columns, f.name) for f in fields(UserEvents)}
        for name, recommender in local.items():
            state = _state(recommender)
            arrays |= {f"local.{name}.{key}": value for key, value in state.items()}

        @contextlib.contextmanager
        def unchanged() -> Iterator[bool]:
            """Keeps data off the disk that was deleted while they were being written."""
            with engine.lock:
                same = engine.generation == generation
                yield same
                if same:
                    self._written = generation, about["last_key"]

        def save(file: BinaryIO) -> None:
            np.savez(file, **arrays)

        write_atomic(self.path, save, durable=True, private=True, guard=unchanged())


def _state(recommender: ServedRecommender) -> dict[str, Any]:
    """Returns the arrays that a fitted recommender consists of."""
    if isinstance(recommender, Popularity):
        return {"users": recommender.users}
    if isinstance(recommender, ItemKNN | EASE | Sequence):
        table = recommender.neighbours
        return {f.name: getattr(table, f.name) for f in fields(Neighbours)}
    return {}


def _restore(recommender: ServedRecommender, arrays: Mapping[str, Any]) -> None:
    if isinstance(recommender, Popularity):
        recommender.users = arrays["users"]
    elif isinstance(recommender, ItemKNN | EASE | Sequence):
        recommender.neighbours = Neighbours(*(arrays[f.name] for f in fields(Neighbours)))


def _read(file: Any, about: dict[str, Any]) -> SnapshotContent:
    columns = UserEvents(*(file[f.name] for f in fields(UserEvents)))
    local = behaviour_recommenders(about["time_unit"])
    for name, recommender in local.items():
        prefix = f"local.{name}."
        arrays = {key[len(prefix) :]: file[key] for key in file.files if key.startswith(prefix)}
        _restore(recommender, arrays)
    return SnapshotContent(
        user_ids=about["users"],
        item_ids=about["items"],
        interactions=Interactions(file["starts"], columns),
        local=local,
        last_key=about["last_key"],
    )
