"""Puts a new adapter in place while answers go on with the old one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from client.serving.engine import Engine
from client.serving.given import Given, read_given, watched_file
from client.serving.mixes import Mix
from client.serving.outside import Outside
from client.serving.space import Space
from client.serving.texts import TextVectors, space_of_adapter
from client.serving.vectors import ItemVectors
from client.serving.weights import co_purchase_of_all, learn_mixes
from shared.errors import FedprofileError, ModelError

Ready = Callable[[TextVectors, dict[str, Mix]], None]
Mark = tuple[int, int, int]
"""What tells one adapter's file from the next: inode, time and size."""


class BusyError(ModelError):
    """Another adapter is being put in place; this one was not looked at."""


@dataclass(frozen=True)
class Progress:
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


class Swapper:
    """Builds the space of an adapter folder in a thread and swaps it in.

    Args:
        engine: Whose space is swapped.
        texts: Encodes by the present base.
        ready: Gets the new encoder of texts and the new weights, once they are in place.
    """

    def __init__(self, engine: Engine, texts: TextVectors, ready: Ready) -> None:
        self._engine = engine
        self._texts = texts
        self._ready = ready
        self._one = threading.Lock()
        self.progress = Progress()

    def swap(self, folder: Path) -> None:
        """Reads an adapter, encodes all items where its base is new, learns weights and swaps.

        Raises:
            BusyError: Another one is being put in place.
            ModelError: The folder is damaged, or the adapter belongs to another base; what is
                served stays as it is.
        """
        if not self._one.acquire(blocking=False):
            raise BusyError(f"adapter={self.progress.adapter} is being put in place; wait for it")
        try:
            self.progress = Progress("encoding", folder.name)
            self._swap(folder)
        except FedprofileError as error:
            self.progress = replace(self.progress, state="refused", problem=str(error))
            raise
        finally:
            self._one.release()

    def _swap(self, folder: Path) -> None:
        given = read_given(folder)
        if given.saved is None:  # a node's first run has not come to its adapter yet
            self.progress = Progress()
            return
        self._check_base(given)
        engine = self._engine
        same = given.base.base_hash == engine.sources.space.base_hash
        texts = self._texts if same else TextVectors(given.base)
        with engine.lock:
            known, rows, histories = _texts(engine), dict(engine.items.rows), engine.histories
            vectors = engine.sources.space.vectors
        if not same:
            int8 = vectors.values is None
            vectors = ItemVectors.of(texts.of_items(known, self._encoded), int8=int8)
        unit, now = engine.sources.unit, engine.sources.counts.now
        space = space_of_adapter(given.saved, vectors, name=given.name, unit=unit)
        self.progress = replace(self.progress, state="learning")
        outside = Outside.of(given.released, rows, histories, n_items=len(known))
        pairs = co_purchase_of_all(histories, outside, n_items=len(known), now=now, unit=unit)
        mixes = learn_mixes(
            replace(engine.sources, space=space, outside=outside, pairs=pairs),
            histories,
            rng=np.random.default_rng(0),
        )
        with engine.lock:
            engine.swap(_with_news(space, known, engine, texts), outside, pairs, mixes)
            self._texts = texts
            self._ready(texts, mixes)
        self.progress = replace(self.progress, state="in place")

    def _check_base(self, given: Given) -> None:
        now = self._engine.sources.space
        if now.has_adapter and given.base.base_hash != now.base_hash:
            raise ModelError(
                f"adapter={given.name} has base {given.base.base_hash[:16]}…, the node serves "
                f"{now.base_hash[:16]}…; take an adapter of this federation, or restart with "
                "--adapter"
            )

    def _encoded(self, done: int, total: int) -> None:
        self.progress = replace(self.progress, done=done, total=total)


def _texts(engine: Engine) -> list[str]:
    return ["" if item is None else item.text for item in engine.items.items]


def _with_news(space: Space, known: list[str], engine: Engine, texts: TextVectors) -> Space:
    """Encodes what was added or changed while the others were encoded."""
    present = _texts(engine)
    rows = [r for r, text in enumerate(present) if r >= len(known) or known[r] != text]
    if not rows:
        return space
    vectors = np.stack([texts.of_query(present[row]) for row in rows])
    return space.put(np.array(rows), vectors, n_items=len(present))


class Watch:
    """Notices when an adapter folder was replaced.

    A mark is taken before the folder is read and noted once it was: what comes meanwhile is then
    another one at the next look.

    Args:
        folder: From `save_adapter`, or a node's; None for nothing to watch. To be read after this.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._seen = self._mark()

    def changed(self) -> Mark | None:
        """Returns the mark of an adapter that was not read yet; None where there is none."""
        found = self._mark()
        return found if found != self._seen else None

    def note(self, mark: Mark) -> None:
        """Takes an adapter for read."""
        self._seen = mark

    def _mark(self) -> Mark | None:
        if self.folder is None:
            return None
        try:
            about = watched_file(self.folder).stat()
        except OSError:
            return None
        return about.st_ino, about.st_mtime_ns, about.st_size
