"""Requests that a reader passes on to the writer, and how the writer knows who sent them."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from client.serving.http.errors import error_body

_OWN_GETS = re.compile(rb"/api/recommend/[^/]+|/api/items/[^/]+/similar|/api/popular|/api/latest")
_OWN_POST = b"/api/session/recommend"
_SENDER = b"x-fedprofile-sender"
_HOP = {b"connection", b"keep-alive", b"expect", b"transfer-encoding", b"te", b"upgrade", b"date"}
"""Headers of one connection (RFC 9110, 7.6.1), and the date, which each server sets itself."""


@dataclass(frozen=True)
class Writer:
    """Where the writer takes what readers pass on.

    Attributes:
        port: On loopback.
        secret: Shows that a request comes from a reader, so that the address in it holds.
    """

    port: int
    secret: str


def is_own(scope: Scope) -> bool:
    """Says whether a reader answers a request itself."""
    path = scope["raw_path"].partition(b"?")[0]
    if scope["method"] == "GET":
        return _OWN_GETS.fullmatch(path) is not None
    return bool(scope["method"] == "POST" and path == _OWN_POST)


class ForwardedTo:
    """An ASGI app that passes requests on to the writer, but for those that are answered here.

    Args:
        writer: Answers.
        but: The app for those.
    """

    def __init__(self, writer: Writer, *, but: ASGIApp) -> None:
        self._writer, self._app = writer, but
        self._client = httpx.AsyncClient(
            timeout=None,  # noqa: S113  # the writer has its own limits, and a bulk import takes long
            limits=httpx.Limits(max_connections=None, keepalive_expiry=5.0),
            trust_env=False,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers or passes on."""
        if scope["type"] != "http" or is_own(scope):
            await self._app(scope, receive, send)
            return
        try:
            answer = await self._client.send(self._request(scope, receive), stream=True)
        except httpx.TransportError:
            await _unavailable(send)
            return
        try:
            headers = [(n.lower(), v) for n, v in answer.headers.raw if n.lower() not in _HOP]
            start = {"type": "http.response.start", "status": answer.status_code}
            await send({**start, "headers": headers})
            async for part in answer.aiter_raw():
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await answer.aclose()

    def _request(self, scope: Scope, receive: Receive) -> httpx.Request:
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        raw = scope["raw_path"].partition(b"?")[0] + query
        url = httpx.URL(scheme="http", host="127.0.0.1", port=self._writer.port, raw_path=raw)
        address = (scope.get("client") or ("", 0))[0]
        sent = scope["headers"]
        headers = [(name, value) for name, value in sent if name not in _HOP and name != _SENDER]
        headers.append((_SENDER, f"{self._writer.secret} {address}".encode()))
        has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in sent)
        body = _body(receive) if has_body else None
        return httpx.Request(scope["method"], url, headers=headers, content=body)


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise httpx.WriteError("the client has gone")
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body", False):
            return


async def _unavailable(send: Send) -> None:
    content = error_body("writer_unavailable", "the writer does not answer", "try again")
    payload = json.dumps(content).encode()
    kind, length = (b"content-type", b"application/json"), str(len(payload)).encode()
    headers = [kind, (b"content-length", length), (b"retry-after", b"1")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": payload})


class SenderOf:
    """An ASGI app around the writer's, in which requests of readers have their sender's address.

    Args:
        app: The writer's.
        secret: Of `Writer`.
    """

    def __init__(self, app: ASGIApp, secret: str) -> None:
        self._app, self._secret = app, f"{secret} ".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Puts the sender's address in place of the reader's."""
        if scope["type"] == "http":
            for name, value in scope["headers"]:
                if name == _SENDER:
                    start, address = value[: len(self._secret)], value[len(self._secret) :]
                    if hmac.compare_digest(start, self._secret):
                        scope["client"] = (address.decode("latin-1"), 0)
        await self._app(scope, receive, send)
