"""Runs the service until it is told to stop."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from threadpoolctl import threadpool_limits

from client.serving.api.app import guarded
from client.serving.service import Service
from shared.errors import RunError

_SWITCH_SECONDS = 0.0005
"""For how long work in the background may keep an answer waiting, not Python's 5 ms."""
_FAREWELL = 10
"""Seconds at the end for answers under way."""


def run(service: Service, *, announce: Callable[[str], None]) -> None:
    """Serves until SIGINT or SIGTERM.

    Args:
        service: Opened; closed at the end.
        announce: Gets the address once connections are taken.

    Raises:
        RunError: The port is taken.
    """
    settings = service.settings
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        service.close()
        raise RunError(
            f"port={settings.port} of host={settings.host} cannot be taken ({error.strerror}); "
            "choose another with --port"
        ) from error
    listening.listen(2048)
    port = listening.getsockname()[1]
    announce(
        f"serving on http://{settings.host}:{port}, routes on http://{settings.host}:{port}/docs, "
        f"a page for people on http://{settings.host}:{port}/"
    )
    config = uvicorn.Config(
        guarded(service),
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=_FAREWELL,
    )
    # One answer is too small a piece of work for several threads to share.
    sys.setswitchinterval(_SWITCH_SECONDS)
    with threadpool_limits(limits=1), _quiet_end():
        uvicorn.Server(config).run(sockets=[listening])


@contextmanager
def _quiet_end() -> Iterator[None]:
    """Lets SIGINT and SIGTERM end the block in order; uvicorn raises them again at its end."""
    before = {one: signal.signal(one, _nothing) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    return
