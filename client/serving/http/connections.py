"""What one connection and one address may take: headers, time, and how many at once.

uvicorn bounds neither the bytes of a request's head nor the time that it takes to come, and counts
connections of all addresses together. Here an address that has too many loses its longest idle one,
so that idle connections by the thousand keep nobody out, not even others of the same address.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from client.serving.http.errors import refusal_body
from client.serving.service.settings import ServingSettings

_REASONS = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


class ConnectionTable:
    """The connections of a server by address, the longest idle first.

    Args:
        per_address: Connections of one address at most.
        in_all: Connections at most.
    """

    def __init__(self, *, per_address: int, in_all: int) -> None:
        self._per_address, self._in_all = per_address, in_all
        self._by_address: OrderedDict[str, OrderedDict[BoundedProtocol, None]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def admit(self, connection: BoundedProtocol) -> bool:
        """Takes a connection, in place of an idle one where there are too many."""
        own = self._by_address.get(connection.address, OrderedDict())
        if len(own) >= self._per_address and not _close_idle(own):
            return False
        if self._count >= self._in_all:
            largest = max(self._by_address.values(), key=len)
            if not _close_idle(largest):
                return False
        self._by_address.setdefault(connection.address, OrderedDict())[connection] = None
        self._count += 1
        return True

    def touch(self, connection: BoundedProtocol) -> None:
        """Notes that a connection is in use."""
        own = self._by_address.get(connection.address)
        if own is not None and connection in own:
            own.move_to_end(connection)

    def remove(self, connection: BoundedProtocol) -> None:
        """Forgets a connection that has ended."""
        own = self._by_address.get(connection.address, OrderedDict())
        if connection in own:
            del own[connection]
            self._count -= 1
            if not own:
                del self._by_address[connection.address]


def _close_idle(connections: OrderedDict[BoundedProtocol, None]) -> bool:
    for one in connections:
        if one.is_idle:
            one.abort()
            return True
    return False


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it, within the limits of the settings."""

    settings: ServingSettings
    table: ConnectionTable

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.address = ""
        self._head_bytes = 0  # in parts that are read whole
        self._raw_bytes = 0  # as they came; these hold a part that never ends too
        self._in_head = True
        self._head_timer: asyncio.TimerHandle | None = None
        self._refusal = 400

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered and no body is coming in."""
        return self.cycle is None or (self.cycle.response_complete and not self.pipeline)

    def abort(self) -> None:
        """Ends the connection at once and gives its place back."""
        self.table.remove(self)
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the connection, or ends it where its address has too many."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        if not self.table.admit(self):
            transport.abort()
            return
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gives the place back."""
        self._stop_head_timer()
        self.table.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads, unless a head has become too long."""
        self.table.touch(self)
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._raw_bytes += len(data)
            if self._raw_bytes > self.settings.max_head:
                self._refuse(431, f"the headers are above {self.settings.max_head} bytes")

    def on_message_begin(self) -> None:
        """Begins a head; one that came with the last request has its time from now on."""
        super().on_message_begin()
        self._in_head, self._head_bytes, self._raw_bytes = True, 0, 0
        if self._head_timer is None:
            self._wait_for_head()

    def on_url(self, url: bytes) -> None:
        """Counts the address, whose parts come as they are read."""
        super().on_url(url)
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Counts a header."""
        super().on_header(name, value)
        self._count_head(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        """Ends the head and its timer."""
        self._in_head, self._head_bytes, self._raw_bytes = False, 0, 0
        self._stop_head_timer()
        super().on_headers_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Ends an idle connection, also one whose client reads nothing."""
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP, in the one form of all errors."""
        self._refuse(self._refusal, "the headers are too long" if self._refusal == 431 else msg)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.settings.max_head:
            self._refusal = 431
            raise httptools.HttpParserError("too long")

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(self.settings.head_seconds, self._head_is_late)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.cycle is None and not (self._head_bytes or self._raw_bytes):
            self.abort()  # nothing was asked, nothing is answered
        else:
            self._refuse(408, f"the headers took more than {self.settings.head_seconds:g} s")

    def _refuse(self, status: int, message: str) -> None:
        if self.transport.is_closing():
            return
        body = json.dumps(refusal_body(status, message)).encode()
        head = (
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        line = b"HTTP/1.1 %d %s\r\n" % (status, _REASONS[status])
        self.transport.write(line + head.encode() + body)
        self.transport.close()


def bounded_protocol(settings: ServingSettings, *, in_all: int) -> type[BoundedProtocol]:
    """Returns the protocol of one server, with a table of its own.

    Args:
        settings: Its limits.
        in_all: Connections at most.
    """
    table = ConnectionTable(per_address=settings.connections_per_address, in_all=in_all)
    return type("ServerProtocol", (BoundedProtocol,), {"settings": settings, "table": table})
