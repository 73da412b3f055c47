"""A TCP proxy on loopback that counts what passes, TLS records included and TCP/IP headers not."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

CHUNK = 65_536


@dataclass(frozen=True)
class PassedBytes:
    """Bytes that passed at once.

    Attributes:
        time: Seconds since 1970.
        up: From the node to the server.
        down: From the server to the node.
    """

    time: float
    up: int = 0
    down: int = 0


class CountingProxy:
    """Passes one node's connections on to the server.

    Args:
        port: Of the server, loopback.
    """

    def __init__(self, port: int) -> None:
        self.passed: list[PassedBytes] = []
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._links: list[socket.socket] = []

    def __enter__(self) -> CountingProxy:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cut()

    def cut(self) -> None:
        """Closes port and connections, as those of a server that died."""
        for link in (self._listener, *self._links):
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()
        self._links.clear()

    def mend(self) -> None:
        """Opens the same port again."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def between(self, start: float, end: float) -> tuple[int, int]:
        """Returns the bytes up and down of a span of time, in seconds since 1970."""
        in_span = [one for one in list(self.passed) if start <= one.time < end]
        return sum(one.up for one in in_span), sum(one.down for one in in_span)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                node, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
            except OSError:
                return
            self._links += [node, server]
            for source, target, way in ((node, server, "up"), (server, node, "down")):
                words = (source, target, way)
                threading.Thread(target=self._pass, args=words, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, way: str) -> None:
        with suppress(OSError):
            while content := source.recv(CHUNK):
                self.passed.append(PassedBytes(time.time(), **{way: len(content)}))
                target.sendall(content)
        for link in (source, target):
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
