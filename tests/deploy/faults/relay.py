"""A network between a node and the server that can be cut: a TCP relay on loopback."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

WAIT = 0.2


class Relay:
    """Passes connections on; while it is cut, nothing moves and afterwards all are broken.

    Args:
        to: Port of the server.
    """

    def __init__(self, to: int) -> None:
        self._to, self._cut, self._open = to, threading.Event(), True
        self._links: list[socket.socket] = []
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._door.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        """Stops all traffic; connections stay open, as with a pulled cable."""
        self._cut.set()

    def mend(self) -> None:
        """Breaks what was open and passes new connections on."""
        links, self._links = self._links, []
        for link in links:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        self._cut.clear()

    def close(self) -> None:
        self._open = False
        self.mend()
        self._door.close()

    def _serve(self) -> None:
        while self._open:
            with suppress(OSError):
                near, _ = self._door.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._links += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while self._open and (data := source.recv(65536)):
                while self._cut.is_set() and self._open:
                    threading.Event().wait(WAIT)
                to.sendall(data)
        for link in (source, to):
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
