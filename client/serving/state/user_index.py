"""Which users are alike: their text profiles as vectors, kept up to date beside the answers.

Vectors of all users are read from all events, which takes seconds in a large shop. They are made
once in the background and then patched: of users with new events, alone. No other answer waits for
it, and the engine's lock is held for copies of references only.
"""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from client.recommenders.tables.item_vectors import ItemVectors
from client.serving.features.interactions import Interactions, UserEvents
from client.serving.ranking.ranker import top_k
from client.serving.state.engine import RecommendationEngine
from client.store.database import UnknownError

Floats = npt.NDArray[np.float32]
_CHUNK = 512


class UserIndex:
    """Unit profile vectors of all users, `(n_rows, d)`.

    Args:
        engine: Whose users they are.
    """

    def __init__(self, engine: RecommendationEngine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._vectors: Floats = np.zeros((0, 0), dtype=np.float32)
        self._made_of: tuple[str, int] | None = None
        self._ids: list[str] = []

    def refresh(self) -> None:
        """Makes or patches the vectors; for a thread in the background."""
        with self._lock:
            self._follow()

    def similar(self, user_id: str, n: int, *, seconds: float) -> tuple[list[str], Floats, bool]:
        """Finds users whose profile is most like a user's.

        Args:
            user_id: The user.
            n: Users at most.
            seconds: For how long vectors that are being made are waited for.

        Returns:
            Ids, cosines, and whether all users were compared; none were while the vectors are made
            for the first time.

        Raises:
            UnknownError: The user is not stored.
        """
        with self._engine.lock:
            row = self._engine.users.get(user_id)
        if row is None:
            raise _not_stored(user_id)
        if not self._lock.acquire(timeout=seconds):
            return [], np.zeros(0, dtype=np.float32), False
        try:
            row = self._follow(user_id)  # rows may have been numbered anew
            vectors, ids = self._vectors, self._ids
        finally:
            self._lock.release()
        if row is None:
            raise _not_stored(user_id)
        scores = vectors @ vectors[row]
        scores[row] = -np.inf
        best = top_k(scores, n)
        best = best[scores[best] > 0]
        users = self._engine.users  # one that was deleted meanwhile is in no answer
        alive = [place for place in best.tolist() if users.get(ids[place]) == place]
        return [ids[place] for place in alive], scores[alive], True

    def _follow(self, user_id: str | None = None) -> int | None:
        """Brings vectors and ids to what the engine holds now; gives a user's row among them."""
        engine = self._engine
        with engine.lock:
            interactions, space, n_rows = engine.interactions, engine.sources.space, engine.n_rows
            changed = engine.take_changed_users()
            made_of = space.base_hash, engine.numbering
            if made_of != self._made_of:  # else these rows have their events in `changed`
                changed |= interactions.changed()
                self._ids = []
            self._name(engine.users, n_rows, changed)
            row = None if user_id is None else engine.users.get(user_id)
        if made_of != self._made_of:
            self._vectors = _all_vectors(interactions, space.vectors, n_rows)
            self._made_of = made_of
        elif n_rows > len(self._vectors):
            more = np.zeros((n_rows - len(self._vectors), space.vectors.dim), dtype=np.float32)
            self._vectors = np.concatenate([self._vectors, more])
        for changed_row, events in changed.items():
            self._vectors[changed_row] = _profile(events, space.vectors)
        return row

    def _name(self, users: dict[str, int], n_rows: int, changed: dict[int, UserEvents]) -> None:
        """Keeps each row's id, "" for a deleted user; new rows are the last of the dictionary."""
        ids, known = self._ids, len(self._ids)
        ids.extend([""] * (n_rows - known))
        for user_id, row in reversed(users.items()):
            if row < known:
                break
            ids[row] = user_id
        for row in changed:
            if users.get(ids[row]) != row:
                ids[row] = ""


def _not_stored(user_id: str) -> UnknownError:
    return UnknownError(
        "is not stored", name="user_id", value=f"{user_id!r}", remedy="check its spelling"
    )


def _all_vectors(interactions: Interactions, vectors: ItemVectors, n_rows: int) -> Floats:
    """Sums each user's item vectors by what their events count, and makes them of unit length."""
    sums = np.zeros((n_rows, vectors.dim), dtype=np.float32)
    columns, starts = interactions.columns, interactions.starts
    for first in range(0, len(interactions), _CHUNK):
        last = min(first + _CHUNK, len(interactions))
        events = columns.select(slice(starts[first], starts[last]))
        if len(events):
            filled = np.flatnonzero(np.diff(starts[first : last + 1]))
            weighed = vectors[events.item] * events.amount[:, None]
            begin = (starts[first:last] - starts[first])[filled]
            sums[first + filled] = np.add.reduceat(weighed, begin, axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    unit: Floats = sums / np.maximum(lengths, np.float32(1e-12))
    return unit


def _profile(events: UserEvents, vectors: ItemVectors) -> Floats:
    total = events.amount @ vectors[events.item]
    unit: Floats = total / max(float(np.linalg.norm(total)), 1e-12)
    return unit
