"""Limits of connections, against a real server and real sockets."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from client.serving.access.audit import AuditLog
from client.serving.access.keys import KeyRing
from client.serving.analytics.metrics import Metrics
from client.serving.http.connections import ConnectionTable, bounded_protocol
from client.serving.http.middleware import RequestGuard
from client.serving.service.settings import ServingSettings

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = (
    b"POST /api/feedback HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\n"
    b"content-length: 100\r\n\r\n"
)


async def read_all(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers 200 once the body is there."""
    if scope["type"] != "http":
        return
    while scope["method"] == "POST" and (await receive()).get("more_body"):
        pass
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


class RefusalAware:
    """Answers an HTTPException with its status, as the application of the node does."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.exceptions import HTTPException

        try:
            await read_all(scope, receive, send)
        except HTTPException as error:
            headers = [(b"content-length", b"0"), (b"connection", b"close")]
            status = error.status_code
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b""})


@contextmanager
def limited(**limits: float) -> Iterator[int]:
    """A server with small limits; yields its port."""
    settings = ServingSettings(burst=10**6, **{"head_seconds": 60.0, **limits})
    app = RequestGuard(
        RefusalAware(),
        settings=settings,
        keys=KeyRing(),
        audit=AuditLog(None),
        metrics=Metrics(),
    )
    config = uvicorn.Config(
        app,
        port=0,
        log_level="error",
        ws="none",
        lifespan="off",
        http=bounded_protocol(settings, in_all=500),
        timeout_keep_alive=settings.idle_seconds,
    )
    server = uvicorn.Server(config)
    running = threading.Thread(target=server.run, daemon=True)
    running.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        running.join(timeout=120)


def connect(port: int) -> socket.socket:
    found = socket.create_connection(("127.0.0.1", port))
    found.settimeout(120)
    return found


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Reads until the server closes."""
    content = b""
    with suppress(ConnectionError):
        while part := connection.recv(65536):
            content += part
    return (int(content[9:12]) if content else 0), content.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"x: " + b"a" * 5000,
        b"GET / HTTP/1.1\r\n" + b"".join(b"h%d: aaaa\r\n" % n for n in range(500)) + b"\r\n",
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_a_head_that_is_too_long_is_refused(sent: bytes) -> None:
    with limited(max_head=2048) as port, connect(port) as connection:
        connection.sendall(sent)
        status, body = answer(connection)
    assert status == 431
    assert json.loads(body)["error"]["code"] == "headers_too_large"


def test_a_head_in_several_parts_has_the_whole_limit() -> None:
    size = int(0.6 * 2048)
    fields = b"".join(b"h%d: %s\r\n" % (n, b"a" * 90) for n in range(size // 100))
    with limited(max_head=2048) as port, connect(port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(GET[:-2] + fields[: size * 9 // 10])
        time.sleep(0.2)
        connection.sendall(fields[size * 9 // 10 :] + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_refused_address_leaves_nothing_behind() -> None:
    class Busy:
        is_idle = False

        def __init__(self, address: str) -> None:
            self.address = address

    table = ConnectionTable(per_address=1, in_all=1)
    assert table.admit(Busy("203.0.113.1"))
    assert not table.admit(Busy("203.0.113.2"))
    assert list(table._by_address) == ["203.0.113.1"]


def test_a_head_and_a_body_that_come_slowly_are_ended() -> None:
    with limited(head_seconds=0.3, body_seconds=0.3) as port:
        with connect(port) as silent, connect(port) as slow, connect(port) as half:
            slow.sendall(GET[:20])
            half.sendall(POST + b"[")
            assert answer(silent) == (0, b"")
            assert answer(slow)[0] == 408
            assert answer(half)[0] == 408
        with connect(port) as second:  # a connection that had a good request is no exception
            second.sendall(GET)
            assert second.recv(65536).startswith(b"HTTP/1.1 200")
            second.sendall(GET[:20])
            assert answer(second)[0] == 408


def test_what_is_no_http_gets_the_one_form_of_errors() -> None:
    with limited() as port, connect(port) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        status, body = answer(connection)
    assert status == 400
    assert set(json.loads(body)["error"]) == {"code", "message", "remedy"}


def test_idle_connections_make_room_and_busy_ones_stay() -> None:
    with limited(connections_per_address=20) as port, ExitStack() as opened:
        busy = opened.enter_context(connect(port))
        busy.sendall(POST + b"[")
        idle = [opened.enter_context(connect(port)) for _ in range(100)]
        with connect(port) as one:
            one.sendall(GET)
            assert one.recv(65536).startswith(b"HTTP/1.1 200")
        assert answer(idle[0]) == (0, b"")
        busy.sendall(b" " * 98 + b"]")
        assert busy.recv(65536).startswith(b"HTTP/1.1 200")


def test_an_address_whose_connections_are_all_busy_gets_no_more() -> None:
    with limited(connections_per_address=5) as port, ExitStack() as opened:
        busy = [opened.enter_context(connect(port)) for _ in range(5)]
        for one in busy:
            one.sendall(POST + b"[")
            time.sleep(0.05)
        with connect(port) as late:
            assert answer(late) == (0, b"")
        busy[0].sendall(b" " * 98 + b"]")
        assert busy[0].recv(65536).startswith(b"HTTP/1.1 200")
