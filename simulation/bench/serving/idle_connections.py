"""Connections by the thousand that ask once and then do nothing, as browsers and bad guests do."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from simulation.bench.serving.http_load import get

_PER_ADDRESS = 1000
"""Connections from one address: a node takes 1,024, so that others come from 127.0.0.2 and on."""


@contextmanager
def idle_connections(port: int, count: int, *, path: str = "/health/live") -> Iterator[None]:
    """Opens connections, asks once on each, and keeps them open; costs nothing afterwards.

    Args:
        port: Of the server on this machine.
        count: Connections.
        path: What each asks for.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count + 500:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 500), hard))
    open_sockets = [_connect(port, number // _PER_ADDRESS, path) for number in range(count)]
    try:
        yield
    finally:
        for one in open_sockets:
            one.close()


def _connect(port: int, group: int, path: str) -> socket.socket:
    one = socket.socket()
    one.bind((f"127.0.0.{2 + group}", 0))
    one.connect(("127.0.0.1", port))
    one.sendall(get(path))
    one.recv(1000)
    return one
