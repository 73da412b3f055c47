"""A process that answers from a copy of the writer's state and passes everything else on to it."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

import uvicorn
from fastapi import FastAPI
from threadpoolctl import threadpool_limits

from client.serving.access.audit import AuditLog
from client.serving.access.keys import KeyRing
from client.serving.http.errors import install_error_handlers
from client.serving.http.middleware import RequestGuard, SlashSafeIds
from client.serving.http.routes import recommend
from client.serving.server import SWITCH_SECONDS, listen, server_config
from client.serving.service.recommending import Recommending
from client.serving.service.settings import ServingSettings
from client.serving.state.engine import RecommendationEngine
from client.serving.state.replication import make_change
from client.serving.workers.forwarding import ForwardedTo, Writer
from client.serving.workers.link import END, GO
from client.serving.workers.shared_arrays import map_arrays

_log = logging.getLogger(__name__)
_GO_SECONDS = 600.0
"""For how long a reader waits for the changes that came while it started."""
_COUNT_SECONDS = 0.05
"""Between two reports of what was counted."""


@dataclass(frozen=True)
class ReaderSetup:
    """What a reader is started with.

    Attributes:
        settings: Of the service, its port the one that all listen on.
        keys: Who may ask; sessions of one process hold in all.
        writer: Where everything else is passed on to.
    """

    settings: ServingSettings
    keys: KeyRing
    writer: Writer


class Reader(Recommending):
    """Answers, and reports what it has counted.

    Args:
        engine: The copy of the state.
        settings: Of the service.
        connection: To the writer.
    """

    def __init__(
        self, engine: RecommendationEngine, settings: ServingSettings, connection: Connection
    ) -> None:
        self.engine, self.settings = engine, settings
        self.observations = self
        self._connection = connection
        self._counted: deque[tuple[str, tuple[Any, ...]]] = deque()
        self._sending = threading.Lock()
        self.made = 0
        self.may_listen = threading.Event()

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts a request and its time."""
        self._counted.append(("answered", (route, method, status, seconds)))

    def recommended(self, surface: str, variant: str) -> None:
        """Counts a recommendation."""
        self._counted.append(("recommended", (surface, variant)))

    def count_shown(
        self, user_id: str, leading: list[int], item_ids: list[str], where: tuple[str, str]
    ) -> None:
        """Counts what a user gets to see."""
        self._counted.append(("shown", (user_id, leading, item_ids, where)))

    def report(self) -> None:
        """Tells the writer how far this process follows and what it has counted."""
        counted = [self._counted.popleft() for _ in range(len(self._counted))]
        with self._sending:
            self._connection.send((self.made, counted))

    def follow(self) -> None:
        """Makes the writer's changes until it says that it ends, or is gone."""
        while (change := receive(self._connection)) is not None:
            if isinstance(change, bytes):
                self.may_listen.set()
                continue
            number, message, arrays = change
            make_change(self.engine, message, arrays)
            self.engine.take_changed_users()  # nobody here asks for them
            self.made = number
            self.report()


def receive(connection: Connection) -> tuple[int, bytes, list[memoryview]] | bytes | None:
    """Receives the next change: its number, what it is and its arrays; `GO`, or None at the end."""
    try:
        head = connection.recv()
        if head == END:
            return None
        if head == GO:
            return GO
        number, places = head
        message = connection.recv_bytes()
        arrays = map_arrays(reduction.recv_handle(connection), places) if places else []
    except (EOFError, OSError):
        return None
    return number, message, arrays


class _ReaderServer(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals ignored."""
        yield


def run_reader(connection: Connection, setup: ReaderSetup) -> None:
    """Serves until the writer ends; the main function of the process."""
    # These reach all processes of a terminal or a unit: the writer says when it is time.
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    first = receive(connection)
    if first is None or isinstance(first, bytes):
        return
    number, message, arrays = first
    engine = RecommendationEngine.empty()
    make_change(engine, message, arrays)
    reader = Reader(engine, setup.settings, connection)
    reader.made = number
    sys.setswitchinterval(SWITCH_SECONDS)
    with threadpool_limits(limits=1):
        server = _ReaderServer(server_config(_app(reader, setup), setup.settings))
        threading.Thread(target=_follow, args=(reader, server), daemon=True).start()
        threading.Thread(target=_report, args=(reader,), daemon=True).start()
        reader.report()
        if not reader.may_listen.wait(_GO_SECONDS):
            return
        server.run(sockets=[listen(setup.settings.host, setup.settings.port, shared=True)])


def _follow(reader: Reader, server: uvicorn.Server) -> None:
    try:
        reader.follow()
    except Exception:
        _log.exception("a change could not be made; this process ends and is started anew")
    server.should_exit = True
    reader.may_listen.set()


def _report(reader: Reader) -> None:
    wait = threading.Event().wait
    while not wait(_COUNT_SECONDS):
        try:
            reader.report()
        except OSError:
            return


def _app(reader: Reader, setup: ReaderSetup) -> ForwardedTo:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.service, app.state.keys = reader, setup.keys
    install_error_handlers(app)
    app.include_router(recommend.router)
    guarded = RequestGuard(
        SlashSafeIds(app),
        settings=setup.settings,
        keys=setup.keys,
        audit=AuditLog(None),
        metrics=reader,
    )
    return ForwardedTo(setup.writer, but=guarded)
