"""Before all routes: request ids, the API key, rate and size limits, timing, slashes in ids."""

from __future__ import annotations

import hmac
import json
import re
import time
from collections import OrderedDict
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from client.serving.analytics.metrics import Metrics
from client.serving.http.errors import refusal_body
from client.serving.service.settings import ServingSettings

_ESCAPED = re.compile(rb"%2f", re.IGNORECASE)
SLASH_STAND_IN = "\udc2f"
"""A lone surrogate: no decoded path and no id can hold one."""


class SlashSafeIds:
    """An ASGI app around another that keeps `%2F` from ending a part of the path.

    Servers decode the whole path before it is split, so that the id `a/similar` of
    `/api/items/a%2Fsimilar` would read like the route of items similar to `a`.

    Args:
        app: Whose path parameters are `PathId`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Decodes the path part by part, where a slash is escaped."""
        raw = scope.get("raw_path") or b""
        if scope["type"] != "http" or not _ESCAPED.search(raw):
            await self._app(scope, receive, send)
            return
        parts = _ESCAPED.split(raw.partition(b"?")[0])
        path = SLASH_STAND_IN.join(unquote(part.decode("latin-1")) for part in parts)
        inner = {**scope, "path": path}  # the server writes the path that it decoded to its log
        await self._app(inner, receive, send)
        scope["route"] = inner.get("route")


UNGUARDED_PATHS = ("/health/live", "/health/ready")
"""Paths that need no key and count for no limit."""
PAGE_PATHS = ("/", "/docs", "/page/")
"""The page's own files need no key: a browser cannot send one, and they hold no data."""
BULK_PATH = "/api/bulk"
"""The path whose body is stored while it comes in."""
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_ADDRESSES = 10_000


class RequestGuard:
    """An ASGI app around another.

    Args:
        app: What it lets requests through to.
        settings: Key and limits.
        metrics: What requests are counted in.
    """

    def __init__(self, app: ASGIApp, *, settings: ServingSettings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses or lets through one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        headers = dict(scope["headers"])
        sent = headers.get(b"x-request-id", b"")
        request_id = sent.decode() if _REQUEST_ID.fullmatch(sent) else uuid4().hex
        scope["request_id"] = request_id
        response = _TrackedResponse(send, request_id)
        refused = self._refuse(scope, headers)
        if refused is not None:
            await response.refuse(*refused)
        else:
            await self._pass(scope, receive, response)
        # The route, not the path: a label with a user's id would publish it and grow for ever.
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if route != "none" else "any"
        self._metrics.seconds.labels(route, method).observe(time.perf_counter() - begun)
        self._metrics.requests.labels(route, method, str(response.status)).inc()

    async def _pass(self, scope: Scope, receive: Receive, response: _TrackedResponse) -> None:
        received = 0
        limit = self._limit(scope)

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            # Counted too: a chunked body has no content-length.
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, f"the body is above {limit} bytes")
            return message

        await self._app(scope, limited, response.send)

    def _refuse(self, scope: Scope, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        if scope["path"] in UNGUARDED_PATHS:
            return None
        address = (scope.get("client") or ("", 0))[0]
        if not self._admit(address):
            return 429, f"more than {self._settings.requests_per_second:g} requests a second"
        key = None if _is_page(scope) else self._settings.api_key
        # compare_digest: a comparison that stops at the first difference tells the key by its time.
        if key is not None and not hmac.compare_digest(
            headers.get(b"x-api-key", b""), key.encode()
        ):
            return 401, "the API key is missing or wrong"
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limit(scope):
            return 413, f"the body has {int(length)} bytes, at most {self._limit(scope)}"
        return None

    def _limit(self, scope: Scope) -> int:
        settings = self._settings
        return settings.max_bulk if scope["path"] == BULK_PATH else settings.max_body

    def _admit(self, address: str) -> bool:
        """Takes a token from the address' bucket, if there is one."""
        now = time.monotonic()
        tokens, last = self._buckets.pop(address, (float(self._settings.burst), now))
        tokens = min(
            tokens + (now - last) * self._settings.requests_per_second, float(self._settings.burst)
        )
        admitted = tokens >= 1.0
        self._buckets[address] = (tokens - admitted, now)
        # Bounded: an attacker with an IPv6 network has more addresses than the memory holds.
        if len(self._buckets) > _ADDRESSES:
            self._buckets.popitem(last=False)
        return admitted


def _is_page(scope: Scope) -> bool:
    *whole, files = PAGE_PATHS
    reading = scope["method"] in ("GET", "HEAD")
    return reading and (scope["path"] in whole or scope["path"].startswith(files))


class _TrackedResponse:
    """The answer to one request, with its id in a header."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._header = (b"x-request-id", request_id.encode())
        self.request_id = request_id
        self.status = 0

    async def send(self, message: Message) -> None:
        """Passes a message on; the first one gets the id."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), self._header]
        await self._send(message)

    async def refuse(self, status: int, message: str) -> None:
        """Answers with an error, unless an answer has begun already."""
        if self.status:
            return
        content: dict[str, Any] = refusal_body(status, message)
        content["error"]["request_id"] = self.request_id
        payload = json.dumps(content).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(payload)).encode()),
        ]
        if status == 429:
            headers.append((b"retry-after", b"1"))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": payload})
