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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
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
from shared.errors import FedprofileError, StorageError
from shared.interactions.events import EVENT_TYPES
from shared.runtime.environment import cache_folder
from shared.runtime.file_store import NUMPY_HEADER_LOCK, remove_drafts, write_atomic

FORMAT = 3
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
        generation: Changes and deletions that it knows of.
    """

    user_ids: list[str | None]
    item_ids: list[str | None]
    interactions: Interactions
    local: dict[str, ServedRecommender]
    last_key: int
    generation: int

    @staticmethod
    def of(engine: RecommendationEngine) -> SnapshotContent:
        """Takes the state of an engine that has had no event since its events were sorted."""
        users: list[str | None] = [None] * engine.n_rows
        for user_id, row in engine.users.items():
            users[row] = user_id
        sources = engine.sources
        return SnapshotContent(
            user_ids=users,
            item_ids=[None if item is None else item.item_id for item in engine.items.items],
            interactions=engine.interactions,
            local=dict(sources.local),
            last_key=engine.last_key,
            generation=engine.generation,
        )


class Snapshot:
    """One file.

    Args:
        path: Its folder is created where absent.
        mark: Gives what tells the database up to an `event_key` from any other; see
            `client.store.reading.content_mark`.
        writes: Whether this process keeps it; one that only looks leaves it as it is.
    """

    def __init__(self, path: Path, *, mark: Callable[[int], list[Any]], writes: bool) -> None:
        self.path = path
        self.writes = writes
        self._mark = mark
        self._written: tuple[int, int] | None = None

    @staticmethod
    def beside(url: str, *, mark: Callable[[int], list[Any]], writes: bool = True) -> Snapshot:
        """Returns the place for a database: beside a SQLite file, else in the cache folder."""
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            return Snapshot(Path(f"{parsed.database}.state.npz"), mark=mark, writes=writes)
        name = hashlib.sha256(url.encode()).hexdigest()[:16]
        return Snapshot(cache_folder() / "serving" / f"{name}.state.npz", mark=mark, writes=writes)

    def discard(self) -> None:
        """Removes the file."""
        self._written = None
        if not self.writes:
            return
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
        if not self.writes:
            return
        try:
            self._write(engine)
        except StorageError as error:
            _log.warning("%s; the next start is slow", error.message)

    def load(self, *, generation: int, time_unit: str) -> SnapshotContent | None:
        """Reads the file, None where it is absent, damaged or of another generation."""
        if self.writes:
            self._sweep()
        try:
            # Without pickle: whoever can write the file must not be able to run code.
            with NUMPY_HEADER_LOCK, np.load(self.path, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                asked = FORMAT, generation, time_unit
                if (about["format"], about["generation"], about["time_unit"]) != asked:
                    return None
                if about["database"] != self._mark(about["last_key"]):
                    return None  # another database, or one that was restored
                state = _read(file, about)
                _check(state)
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
        try:
            about["database"] = self._mark(about["last_key"])
        except FedprofileError as error:
            _log.warning("%s; the next start is slow", error.message)
            return
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


_WITH_NEIGHBOURS = (ItemKNN, EASE, Sequence)


def _state(recommender: ServedRecommender) -> dict[str, Any]:
    """Returns the arrays that a fitted recommender consists of."""
    if isinstance(recommender, Popularity):
        return {"users": recommender.users}
    if isinstance(recommender, _WITH_NEIGHBOURS):
        table = recommender.neighbours
        return {f.name: getattr(table, f.name) for f in fields(Neighbours)}
    return {}


def _restore(recommender: ServedRecommender, arrays: Mapping[str, Any]) -> None:
    if isinstance(recommender, Popularity):
        recommender.users = arrays["users"]
    elif isinstance(recommender, _WITH_NEIGHBOURS):
        recommender.neighbours = Neighbours(*(arrays[f.name] for f in fields(Neighbours)))


def _check(state: SnapshotContent) -> None:
    """Raises ValueError where a value is out of its range: a damaged file is built anew."""
    n_users, n_items = len(state.user_ids), len(state.item_ids)
    interactions, events = state.interactions, state.interactions.columns
    n = len(events.item)
    same_user = np.ones(max(n - 1, 0), bool)
    _check_starts(interactions.starts, n_users, n)
    inner = interactions.starts[1:-1]
    same_user[inner[(inner > 0) & (inner < n)] - 1] = False
    times = events.time
    sound = (
        all(len(getattr(events, f.name)) == n for f in fields(UserEvents))
        and _in_range(events.item, n_items)
        and _in_range(events.event_type, len(EVENT_TYPES))
        and bool(np.isfinite(times).all() and np.isfinite(events.amount).all())
        and bool((np.diff(times)[same_user] >= 0).all())
        and len(set(state.user_ids) - {None}) + state.user_ids.count(None) == n_users
    )
    tables = (r.neighbours for r in state.local.values() if isinstance(r, _WITH_NEIGHBOURS))
    for table in tables:
        rows = len(table.starts) - 1
        _check_starts(table.starts, rows, len(table.item))
        sound = sound and rows <= n_items and len(table.value) == len(table.item)
        sound = sound and _in_range(table.item, n_items) and bool(np.isfinite(table.value).all())
    if not sound:
        raise ValueError("a value is out of its range")


def _in_range(codes: npt.NDArray[Any], n: int) -> bool:
    return not len(codes) or bool(codes.min() >= 0 and codes.max() < n)


def _check_starts(starts: npt.NDArray[np.int64], n_rows: int, n: int) -> None:
    ends = len(starts) == n_rows + 1 and starts[0] == 0 and starts[-1] == n
    if not ends or (np.diff(starts) < 0).any():
        raise ValueError("rows do not begin in order")


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
        generation=about["generation"],
    )
