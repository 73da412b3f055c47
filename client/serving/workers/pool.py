"""All readers of a writer: started, told of changes, waited for, started anew when they end."""

from __future__ import annotations

import logging
import multiprocessing
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp

from client.serving.access.keys import KeyRing
from client.serving.server import listen
from client.serving.service.service import Service
from client.serving.state.replication import Change
from client.serving.workers.forwarding import SenderOf, Writer
from client.serving.workers.link import Parcel, ReaderLink
from client.serving.workers.reader import ReaderSetup, run_reader

_log = logging.getLogger(__name__)
FOLLOW_SECONDS = 5.0
"""For how long a write waits for a reader; one that is later is ended and started anew."""
_PAUSE, _LONGEST_PAUSE, _STEADY = 0.2, 10.0, 30.0
"""Seconds before a reader is started again: doubled each time, anew after so long a life."""
_END_SECONDS = 15.0


class WorkerProcesses:
    """Readers beside a server; see `client.serving.server.Readers`.

    Args:
        count: Processes that answer, the writer among them.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: ReaderPool | None = None

    def begin(
        self, app: ASGIApp, service: Service, keys: KeyRing, port: int
    ) -> tuple[ASGIApp, socket.socket]:
        """Starts them; gives the application and the socket for what they pass on."""
        internal = listen("127.0.0.1", 0)
        writer = Writer(internal.getsockname()[1], secrets.token_hex(16))
        settings = service.settings.model_copy(update={"port": port})
        self._pool = ReaderPool(service, ReaderSetup(settings, keys, writer), self._count - 1)
        self._pool.start()
        return SenderOf(app, writer.secret), internal

    def end(self) -> None:
        """Ends them."""
        if self._pool is not None:
            self._pool.stop()


class ReaderPool:
    """The readers, and the journal of the writer's engine.

    Args:
        service: The writer.
        setup: What readers are started with.
        count: How many there are to be.
    """

    def __init__(self, service: Service, setup: ReaderSetup, count: int) -> None:
        self._service, self._setup, self._count = service, setup, count
        self._links: list[ReaderLink] = []
        self._moved = threading.Condition()
        self._number = 0
        self._ending = threading.Event()
        self._keepers: list[threading.Thread] = []
        # A clean process that has imported everything: readers are forks of it, never of this one,
        # whose threads may hold locks.
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(["client.serving.workers.reader"])

    def start(self) -> None:
        """Starts the readers in the background."""
        self._service.engine.journal = self
        self._service.store.before_acknowledging(self.settle)
        for number in range(self._count):
            keeper = threading.Thread(target=self._keep, name=f"reader-{number}", daemon=True)
            self._keepers.append(keeper)
            keeper.start()

    def stop(self) -> None:
        """Ends all readers in order, by force where that takes too long."""
        self._ending.set()
        for link in list(self._links):
            link.end()
        until = time.monotonic() + _END_SECONDS
        for link in list(self._links):
            link.process.join(max(until - time.monotonic(), 0.1))
            if link.process.is_alive():
                link.process.kill()
        for keeper in self._keepers:
            keeper.join(timeout=1.0)
        self._service.engine.journal = None

    @property
    def pids(self) -> list[int]:
        """Processes of the readers that run."""
        return [link.process.pid or 0 for link in self._links if not link.ended.is_set()]

    def note(self, change: Change) -> None:
        """Sends a change of the engine to all readers; called under the engine's lock."""
        self._number += 1
        parcel = Parcel(self._number, change)
        for link in self._links:
            link.put(parcel)

    def settle(self) -> None:
        """Waits until all readers have made all changes so far.

        A reader that takes longer than `FOLLOW_SECONDS` is ended, so that no answer of it can be
        older than a write that was acknowledged.
        """
        with self._service.engine.lock:
            number, links = self._number, list(self._links)

        def behind() -> list[ReaderLink]:
            return [
                link
                for link in links
                if link.ready.is_set() and not link.ended.is_set() and link.made < number
            ]

        with self._moved:
            if self._moved.wait_for(lambda: not behind(), FOLLOW_SECONDS):
                return
            late = behind()
        for link in late:
            link.cut()

    def _keep(self) -> None:
        """Keeps one reader running."""
        pause = _PAUSE
        while not self._ending.is_set():
            begun = time.monotonic()
            link = self._start_one()
            # Not `join`: where the process that forks readers has gone, it returns at once, and a
            # reader that is told nothing more would go on answering.
            link.ended.wait()
            with self._service.engine.lock:
                self._links.remove(link)
            pause = _PAUSE if time.monotonic() - begun > _STEADY else min(2 * pause, _LONGEST_PAUSE)
            if not self._ending.wait(pause):
                _log.warning("reader %s ended and is started anew", link.process.pid)

    def _start_one(self) -> ReaderLink:
        ours, theirs = self._processes.Pipe()
        process = self._processes.Process(
            target=run_reader, args=(theirs, self._setup), name="reader", daemon=True
        )
        process.start()
        theirs.close()
        link = ReaderLink(process, ours, noted=self._noted, moved=self._wake)
        engine = self._service.engine
        with engine.lock:  # no change may come between the state and what follows it
            link.put(Parcel(self._number, Change.whole(engine)))
            self._links.append(link)
        link.start()
        return link

    def _wake(self) -> None:
        with self._moved:
            self._moved.notify_all()

    def _noted(self, counted: list[tuple[str, tuple[Any, ...]]]) -> None:
        """Counts what a reader has answered and shown."""
        service = self._service
        takes: dict[str, Callable[..., None]] = {
            "answered": service.metrics.answered,
            "recommended": service.metrics.recommended,
            "shown": service.count_shown,
        }
        for name, arguments in counted:
            takes[name](*arguments)
