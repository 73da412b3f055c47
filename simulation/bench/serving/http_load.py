"""Clients that keep asking a local server over HTTP/1.1, light enough to leave it its processor."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import uvloop

from shared.errors import RunError

KEY = secrets.token_hex(16)
"""The API key of each node that this process measures."""


@dataclass
class Load:
    """What came back.

    Attributes:
        seconds: From the first request to the last answer.
        milliseconds: Of each answer.
        statuses: Number of answers by status.
    """

    seconds: float = 0.0
    milliseconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def per_second(self) -> float:
        """Answers a second, of all clients together."""
        return len(self.milliseconds) / self.seconds

    def quantile(self, q: float) -> float:
        """Returns the time below which a share `q` of the answers came, in milliseconds."""
        return float(np.quantile(self.milliseconds, q))

    @property
    def failed(self) -> int:
        """Answers that were no success."""
        return sum(n for status, n in self.statuses.items() if not 200 <= status < 300)


def get(path: str) -> bytes:
    """Returns a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\n\r\n".encode()


def post(path: str, body: Any) -> bytes:
    """Returns a POST request with a JSON body."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"X-API-Key: {KEY}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def ask(port: int, requests: Sequence[bytes], *, clients: int, seconds: float) -> Load:
    """Sends requests one after another from each of several clients, each on one connection.

    Args:
        port: Of the server on this machine.
        requests: What is asked, round and round; each client begins elsewhere.
        clients: Connections; each has one request under way at a time.
        seconds: How long new requests are sent.

    Raises:
        RunError: The server closed a connection.
    """
    return uvloop.run(_ask(port, requests, clients, seconds))


async def _ask(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> Load:
    load = Load()
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    connections = []
    for client in range(clients):
        start = client * len(requests) // clients
        turn = itertools.cycle([*requests[start:], *requests[:start]])
        one = _Client(load, turn, begun + seconds, loop.create_future())
        connections.append(one)
        await loop.create_connection(lambda one=one: one, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*(one.done for one in connections))
    load.seconds = time.perf_counter() - begun
    return load


class _Client(asyncio.Protocol):
    def __init__(
        self, load: Load, requests: Iterator[bytes], until: float, done: asyncio.Future[None]
    ) -> None:
        self._load = load
        self._requests = requests
        self._until = until
        self.done = done
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._got += data
        head = self._got.find(b"\r\n\r\n")
        if head < 0:
            return
        place = self._got.lower().find(b"content-length:", 0, head)
        length = int(self._got[place + 15 : self._got.find(b"\r", place)])
        if len(self._got) < head + 4 + length:
            return
        now = time.perf_counter()
        self._load.milliseconds.append(1000 * (now - self._sent))
        self._load.statuses[int(self._got[9:12])] += 1
        self._got = b""
        if now < self._until:
            self._send()
        else:
            self.done.set_result(None)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(
                RunError(f"the server closed a connection ({exc})", remedy="see its log")
            )
