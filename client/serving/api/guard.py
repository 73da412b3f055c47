"""What stands before all routes: request ids, the API key, rate and size limits, and timing."""

from __future__ import annotations

import hmac
import json
import re
import time
from collections import OrderedDict
from typing import Any
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from client.serving.api.errors import refusal
from client.serving.metrics import Metrics
from client.serving.settings import ServingSettings

OPEN = ("/health/live", "/health/ready")
"""Paths that need no key and count for no limit."""
PAGE = ("/", "/docs", "/page/")
"""The page's own files need no key: a browser cannot send one, and they hold no data."""
BULK = "/api/bulk"
"""The path whose body is stored while it comes in."""
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_ADDRESSES = 10_000


class Guard:
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
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else uuid4().hex
        scope["request_id"] = request_id
        answer = _Answer(send, request_id)
        refused = self._refuse(scope, headers)
        if refused is not None:
            await answer.refuse(*refused)
        else:
            await self._pass(scope, receive, answer)
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if route != "none" else "any"
        self._metrics.seconds.labels(route, method).observe(time.perf_counter() - begun)
        self._metrics.requests.labels(route, method, str(answer.status)).inc()

    async def _pass(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        received = 0
        limit = self._limit(scope)

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, f"the body is above {limit} bytes")
            return message

        await self._app(scope, limited, answer.send)

    def _refuse(self, scope: Scope, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        if scope["path"] in OPEN:
            return None
        address = (scope.get("client") or ("", 0))[0]
        if not self._admit(address):
            return 429, f"more than {self._settings.requests_per_second:g} requests a second"
        key = None if _is_page(scope) else self._settings.api_key
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
        return settings.max_bulk if scope["path"] == BULK else settings.max_body

    def _admit(self, address: str) -> bool:
        """Takes a token from the address' bucket, if there is one."""
        now = time.monotonic()
        tokens, last = self._buckets.pop(address, (float(self._settings.burst), now))
        tokens = min(
            tokens + (now - last) * self._settings.requests_per_second, float(self._settings.burst)
        )
        admitted = tokens >= 1.0
        self._buckets[address] = (tokens - admitted, now)
        if len(self._buckets) > _ADDRESSES:
            self._buckets.popitem(last=False)
        return admitted


def _is_page(scope: Scope) -> bool:
    *whole, files = PAGE
    reading = scope["method"] in ("GET", "HEAD")
    return reading and (scope["path"] in whole or scope["path"].startswith(files))


class _Answer:
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
        content: dict[str, Any] = refusal(status, message)
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
