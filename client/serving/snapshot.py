"""A copy of the sorted state on the disk, so that a start need not read every event again.

It holds personal data: only its owner may read it, and it goes whenever anything stored is changed
or deleted. It is never needed: without it, the state is built from the database.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.engine import make_url

from client.serving.counts import Counts
from client.serving.engine import Engine
from client.serving.histories import Histories, UserEvents
from client.serving.neighbours import Neighbours
from shared.array_headers import ONE_READER
from shared.cache_folder import cache_folder

FORMAT = 1
"""Raised with every change of what is computed, so that older copies are void."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class State:
    """What a copy holds.

    Attributes:
        user_ids: By row, None for a deleted user.
        item_ids: By row, None for a deleted item.
        histories: Sorted, nobody changed since.
        counts: Of these histories.
        near: Nearest neighbours.
        ease: EASE.
        last_key: `event_key` up to which it goes.
    """

    user_ids: list[str | None]
    item_ids: list[str | None]
    histories: Histories
    counts: Counts
    near: Neighbours
    ease: Neighbours
    last_key: int


class Snapshot:
    """One file.

    Args:
        path: Its folder is made where absent.
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

    def fits(self, engine: Engine) -> bool:
        """Says whether the file holds all that an engine knows."""
        return self._written == (engine.generation, engine.last_key)

    def behind(self, engine: Engine) -> int:
        """Returns how many events an engine knows beyond the file, 0 where there is none."""
        return 0 if self._written is None else engine.last_key - self._written[1]

    @property
    def is_there(self) -> bool:
        """Whether the file was read or written and nothing was deleted since."""
        return self._written is not None

    def save(self, engine: Engine) -> None:
        """Writes the sorted state; a disk that is full costs the next start time, no more."""
        try:
            self._write(engine)
        except OSError as error:
            _log.warning("%s cannot be written (%s); the next start is slow", self.path, error)

    def load(self, *, generation: int) -> State | None:
        """Reads the file, None where it is absent, damaged or of another generation."""
        self._sweep()
        try:
            with ONE_READER, np.load(self.path, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                if (about["format"], about["generation"]) != (FORMAT, generation):
                    return None
                state = _read(file, about)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        self._written = generation, state.last_key
        return state

    def _sweep(self) -> None:
        """Removes what a killed process was writing: it may hold a user who is deleted since."""
        for part in self.path.parent.glob(f".{self.path.name}-*"):
            with contextlib.suppress(OSError):
                part.unlink()

    def _write(self, engine: Engine) -> None:
        with engine.lock:
            if engine.sorted_generation != engine.generation:
                return
            histories, generation = engine.histories, engine.generation
            rows = {row: user_id for user_id, row in engine.users.items()}
            about: dict[str, Any] = {
                "format": FORMAT,
                "generation": generation,
                "last_key": engine.sorted_key,
                "now": engine.sources.counts.now,
                "users": [rows.get(row) for row in range(len(histories))],
                "items": [None if i is None else i.item_id for i in engine.items.items],
            }
            near, solved, unit = engine.sources.near, engine.sources.ease, engine.sources.unit
        n_items = len(about["items"])
        now = about["now"]
        counts = Counts.of(histories, n_items=n_items, now=now, dated=unit == "days")
        arrays: dict[str, Any] = {"starts": histories.starts, "about": np.array(json.dumps(about))}
        arrays |= {f.name: getattr(histories.columns, f.name) for f in fields(UserEvents)}
        arrays |= {"counts.users": counts.users, "counts.recent": counts.recent}
        for name, table in (("near", near), ("ease", solved)):
            arrays |= {f"{name}.{f.name}": getattr(table, f.name) for f in fields(Neighbours)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
            with engine.lock:  # a deletion meanwhile must not find its data back on the disk
                if engine.generation == generation:
                    Path(part).replace(self.path)
                    self._written = generation, about["last_key"]
        finally:
            Path(part).unlink(missing_ok=True)


def _read(file: Any, about: dict[str, Any]) -> State:
    columns = UserEvents(*(file[f.name] for f in fields(UserEvents)))
    near, solved = (
        Neighbours(*(file[f"{name}.{f.name}"] for f in fields(Neighbours)))
        for name in ("near", "ease")
    )
    return State(
        user_ids=about["users"],
        item_ids=about["items"],
        histories=Histories(file["starts"], columns),
        counts=Counts(file["counts.users"], file["counts.recent"], about["now"]),
        near=near,
        ease=solved,
        last_key=about["last_key"],
    )
