"""One reader as its writer sees it: a process, changes on their way to it, counts coming back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import reduction
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any

from client.serving.state.replication import Change
from client.serving.workers.shared_arrays import SharedArrays

_log = logging.getLogger(__name__)
END, GO = b"end", b"go"
"""Messages that tell a reader to end, and that it may take connections from now on."""


@dataclass(eq=False)
class Parcel:
    """A change with its number; its large arrays are copied once, for all readers.

    Attributes:
        number: Counts changes.
        change: The change.
    """

    number: int
    change: Change
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _shared: SharedArrays | None = None

    def send(self, connection: Connection) -> None:
        """Sends it to a reader's process."""
        places: tuple[tuple[int, int], ...] = ()
        if self.change.arrays:
            with self._lock:
                if self._shared is None:
                    self._shared = SharedArrays.of(self.change.arrays)
            places = self._shared.places
        connection.send((self.number, places))
        connection.send_bytes(self.change.message)
        if self._shared is not None:
            reduction.send_handle(connection, self._shared.handle, 0)

    def __del__(self) -> None:
        if self._shared is not None:
            self._shared.close()


class ReaderLink:
    """Sends changes to one reader in their order, and takes what it says.

    Args:
        process: The reader.
        connection: To it.
        noted: Gets what it counted: names of methods with their arguments.
        moved: Is called when it has made a change, or has gone.
    """

    def __init__(
        self,
        process: BaseProcess,
        connection: Connection,
        *,
        noted: Callable[[list[tuple[str, tuple[Any, ...]]]], None],
        moved: Callable[[], None],
    ) -> None:
        self.process = process
        self.made = 0
        """Number of the last change that it has made."""
        self.ended = threading.Event()
        """Set when its end of the connection is closed: whoever keeps it open may still answer."""
        self.ready = threading.Event()
        """Set when it has the whole state; only then is it waited for."""
        self._connection = connection
        self._noted, self._moved = noted, moved
        self._parcels: SimpleQueue[Parcel | bytes] = SimpleQueue()

    def start(self) -> None:
        """Begins to send and to listen, in threads of its own."""
        for task in (self._send_all, self._listen):
            threading.Thread(target=task, name="reader-link", daemon=True).start()

    def put(self, parcel: Parcel) -> None:
        """Sends a change after those before it."""
        self._parcels.put(parcel)

    def end(self) -> None:
        """Tells the reader to end in order, after the changes that are on their way."""
        self._parcels.put(END)

    def cut(self) -> None:
        """Ends a reader that does not follow."""
        _log.warning("reader %s does not follow and is started anew", self.process.pid)
        self.process.kill()

    def _send_all(self) -> None:
        try:
            while (parcel := self._parcels.get()) != END:
                if isinstance(parcel, bytes):
                    self._connection.send(parcel)
                else:
                    parcel.send(self._connection)
            self._connection.send(END)
        except OSError:
            return  # it has gone; `_listen` says so

    def _listen(self) -> None:
        try:
            while True:
                made, counted = self._connection.recv()
                if counted:
                    self._noted(counted)
                self.made = max(self.made, made)
                if not self.ready.is_set():
                    self.ready.set()
                    # Behind all changes that were acknowledged while nobody waited for it.
                    self._parcels.put(GO)
                self._moved()
        except (EOFError, OSError):
            self.ended.set()
            self._parcels.put(END)
            self._moved()
