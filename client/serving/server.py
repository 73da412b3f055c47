"""The HTTP application of one shop's service, and the server that runs it."""

from __future__ import annotations

import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib import metadata
from types import FrameType
from typing import Protocol

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp
from threadpoolctl import threadpool_limits

from client.serving.access.audit import AuditLog
from client.serving.access.keys import KeyRing
from client.serving.http import errors
from client.serving.http.connections import bounded_protocol
from client.serving.http.description import describe
from client.serving.http.gorse import feedback as gorse_feedback
from client.serving.http.gorse import items as gorse_items
from client.serving.http.gorse import recommend as gorse_recommend
from client.serving.http.gorse import users as gorse_users
from client.serving.http.middleware import RequestGuard, SlashSafeIds
from client.serving.http.routes import (
    bulk,
    catalogue,
    deny,
    feedback,
    login,
    operations,
    page,
    people,
    recommend,
    rules,
    uses,
)
from client.serving.service.service import Service
from client.serving.service.settings import ServingSettings
from shared.errors import RunError


def create_app(service: Service) -> FastAPI:
    """Builds the application; its background work begins and ends with it."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.close()

    app = FastAPI(
        title="fedprofile node",
        version=metadata.version("fedprofile"),
        description="Recommendations of one shop, from its own machine.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load scripts from elsewhere; `page` has our own
        redoc_url=None,
    )
    app.state.service = service
    errors.install_error_handlers(app)
    for router in (
        recommend.router,
        feedback.router,
        bulk.router,
        catalogue.router,
        people.router,
        uses.router,
        operations.privacy_router,
        operations.router,
        deny.router,
        rules.router,
        login.router,
        page.router,
        gorse_recommend.router,
        gorse_feedback.router,
        gorse_items.router,
        gorse_users.router,
    ):
        app.include_router(router)
    describe(app)
    return app


def create_guarded_app(service: Service, keys: KeyRing | None = None) -> ASGIApp:
    """Builds the application behind its guard, with ids that may hold slashes.

    Args:
        service: What answers.
        keys: Who may ask; None takes the key of the settings alone.
    """
    if keys is None:
        keys = KeyRing(owner_key=service.settings.api_key)
    app = create_app(service)
    app.state.keys = keys
    return RequestGuard(
        SlashSafeIds(app),
        settings=service.settings,
        keys=keys,
        audit=AuditLog(None if keys.files is None else keys.files.audit),
        metrics=service.metrics,
    )


_BACKLOG = 4096
"""Connections that wait while the node loads or is busy; the system may allow fewer."""
_FILES_WANTED, _FILES_KEPT = 65_536, 256
"""Open files that the process asks for, and those that are no connections."""
SWITCH_SECONDS = 0.0005
"""For how long work in the background may keep an answer waiting, not Python's 5 ms."""
_SHUTDOWN_SECONDS = 10
"""Seconds at the end for answers under way."""


class Readers(Protocol):
    """Further processes that answer on the same port."""

    def begin(
        self, app: ASGIApp, service: Service, keys: KeyRing, port: int
    ) -> tuple[ASGIApp, socket.socket]:
        """Starts them; gives the application and the socket for what they pass on."""
        ...

    def end(self) -> None:
        """Ends them."""
        ...


def run_server(
    service: Service,
    keys: KeyRing,
    *,
    announce: Callable[[str], None],
    readers: Readers | None = None,
) -> None:
    """Serves until SIGINT or SIGTERM.

    Args:
        service: Opened; closed at the end.
        keys: Who may ask; the audit log is beside their files.
        announce: Gets the address once connections are taken.
        readers: Further processes; None for none.

    Raises:
        RunError: The port is taken.
    """
    settings = service.settings
    try:
        listening = listen(settings.host, settings.port)
        if readers is not None:  # taken alone first: another node may share nothing with this one
            listening.close()
            listening = listen(settings.host, settings.port, shared=True)
    except RunError:
        service.close()
        raise
    port = listening.getsockname()[1]
    app, sockets = create_guarded_app(service, keys), [listening]
    if readers is not None:
        app, internal = readers.begin(app, service, keys, port)
        sockets.append(internal)
    announce(
        f"serving on http://{settings.host}:{port}, routes on http://{settings.host}:{port}/docs, "
        f"a page for people on http://{settings.host}:{port}/"
    )
    config = server_config(app, settings)
    # One answer is too small a piece of work for several threads to share.
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        with threadpool_limits(limits=1), _quiet_end():
            uvicorn.Server(config).run(sockets=sockets)
    finally:
        if readers is not None:
            readers.end()


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Takes a port.

    Args:
        host: Address of this machine.
        port: 0 takes a free one.
        shared: Whether further processes of the same user may listen on it too; the system gives
            each of them its part of the connections.

    Raises:
        RunError: The port is taken.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise RunError(
            f"port={port} of host={host} cannot be taken ({error.strerror})",
            remedy="choose another with --port",
        ) from error
    listening.listen(_BACKLOG)
    return listening


def server_config(app: ASGIApp, settings: ServingSettings) -> uvicorn.Config:
    """Returns how uvicorn serves an application: limits, time for the end, no log of its own."""
    return uvicorn.Config(
        app,
        http=bounded_protocol(settings, in_all=_raise_file_limit() - _FILES_KEPT),
        timeout_keep_alive=settings.idle_seconds,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )


def _raise_file_limit() -> int:
    """Lets the process open as many files as the system allows, and returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, _FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return wanted if soft == resource.RLIM_INFINITY else max(soft, 2 * _FILES_KEPT)


@contextmanager
def _quiet_end() -> Iterator[None]:
    """Lets SIGINT and SIGTERM end the block in order; uvicorn raises them again at its end."""
    before = {one: signal.signal(one, _ignore_signal) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _ignore_signal(_number: int, _frame: FrameType | None) -> None:
    return
