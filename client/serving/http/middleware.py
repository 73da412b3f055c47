"""Before all routes: hosts, origins, keys and roles, limits of rate and size, the audit log."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import OrderedDict
from dataclasses import dataclass
from urllib.parse import unquote
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from client.serving.access.audit import AuditLog
from client.serving.access.keys import ApiKey, KeyRing, Role
from client.serving.access.origins import AllowedHosts
from client.serving.analytics.metrics import Observations
from client.serving.http.errors import error_body, refusal_body
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
SESSION_COOKIE = "fedprofile-session"
"""Cookie of the page's session."""
_READING_POSTS = ("/api/session/recommend", "/api/privacy/verify", "/api/login", "/api/logout")
GORSE_PREFIX = "/gorse"
GORSE_API = f"{GORSE_PREFIX}/api"
"""Before the paths of the interface that Gorse's clients speak; it is in no schema of ours."""
_GORSE_READING_POST = f"{GORSE_API}/session/recommend"
_ADMIN = re.compile(r"/api/(adapter/|settings/|users/.*/readmission$)", re.DOTALL)
_RULES = "/api/rules/"
"""What a rule does is undone by deleting it: whoever writes items may change them."""
_ADMIN_READS = re.compile(r"/api/users/.*/export", re.DOTALL)
_CLOSE = {"Connection": "close"}
"""What is still coming on the connection is not read."""
_WITH_BODY = ("POST", "PUT", "PATCH")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_ADDRESSES = 10_000


def needed_role(method: str, path: str) -> Role:
    """Returns the least role that a request needs.

    `read` asks, `write` stores events, items and users, `admin` deletes, changes settings and gets
    all that is held about a user.
    """
    if method in ("GET", "HEAD"):
        return "admin" if _ADMIN_READS.fullmatch(path) else "read"
    if (method == "DELETE" or _ADMIN.match(path)) and not path.startswith(_RULES):
        return "admin"
    reading = path in _READING_POSTS or path.startswith(_GORSE_READING_POST)
    return "read" if reading else "write"


def _is_audited(method: str, path: str) -> bool:
    """Says whether a request deletes something or changes what all customers see."""
    rules = path.startswith(_RULES) and method not in ("GET", "HEAD")
    return rules or needed_role(method, path) == "admin"


@dataclass(frozen=True)
class Refusal:
    """Why a request is not let through.

    Attributes:
        status: Of the answer.
        code: For programs.
        message: For people.
        remedy: What to do.
    """

    status: int
    code: str
    message: str
    remedy: str

    @classmethod
    def of_status(cls, status: int, message: str) -> Refusal:
        """Returns the one refusal that a status stands for."""
        error = refusal_body(status, message)["error"]
        return cls(status, error["code"], error["message"], error["remedy"])


class RequestGuard:
    """An ASGI app around another.

    Args:
        app: What it lets requests through to.
        settings: Hosts and limits.
        keys: Who is let in.
        audit: Where deletions and changes of settings are written.
        metrics: What requests are counted in.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: ServingSettings,
        keys: KeyRing,
        audit: AuditLog,
        metrics: Observations,
    ) -> None:
        self._app = app
        self._settings = settings
        self._keys = keys
        self._audit = audit
        self._hosts = AllowedHosts((settings.host, *settings.allowed_hosts))
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
            await response.refuse(refused)
        else:
            await self._pass(scope, receive, response)
        # The route, not the path: a label with a user's id would publish it and grow for ever.
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if route != "none" else "any"
        self._metrics.answered(route, method, response.status, time.perf_counter() - begun)
        # Without a key nobody makes the log grow.
        known = "api_key" in scope or (self._keys.is_open and refused is None)
        if known and _is_audited(scope["method"], scope["path"]):
            self._note(scope, response)

    async def _pass(self, scope: Scope, receive: Receive, response: _TrackedResponse) -> None:
        received, whole = 0, False
        limit, seconds = self._limit(scope), self._settings.body_seconds
        bulk = scope["path"] == BULK_PATH
        ends = time.monotonic() + 2 * seconds

        async def limited() -> Message:
            nonlocal received, whole
            if whole:  # what comes now is the end of the connection
                return await receive()
            left = seconds if bulk else min(seconds, ends - time.monotonic())
            try:
                async with asyncio.timeout(left):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "the body came too slowly", _CLOSE) from None
            whole = not message.get("more_body", False)
            # Counted too: a chunked body has no content-length.
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, f"the body is above {limit} bytes", _CLOSE)
            return message

        await self._app(scope, limited, response.send)

    def _refuse(self, scope: Scope, headers: dict[bytes, bytes]) -> Refusal | None:
        unguarded = scope["path"] in UNGUARDED_PATHS
        address = (scope.get("client") or ("", 0))[0]
        if not unguarded and not self._admit(address):
            rate = f"more than {self._settings.requests_per_second:g} requests a second"
            return Refusal.of_status(429, rate)
        foreign = self._hosts.refuse(headers)
        if foreign is not None:
            return Refusal(403, *foreign)
        if unguarded:
            return None
        return self._refuse_caller(scope, headers) or self._refuse_body(scope, headers)

    def _refuse_caller(self, scope: Scope, headers: dict[bytes, bytes]) -> Refusal | None:
        if self._keys.is_open or _is_page(scope):
            return None
        key = self._caller(headers)
        if key is None:
            return Refusal.of_status(401, "the API key is missing or wrong")
        scope["api_key"] = key
        role = needed_role(scope["method"], scope["path"])
        if not key.may(role):
            return Refusal(
                403,
                "role_too_low",
                f"the key has the role {key.role}, this needs {role}",
                "send a key of that role; its owner makes one with `fedprofile node api-key add`",
            )
        return None

    def _caller(self, headers: dict[bytes, bytes]) -> ApiKey | None:
        """Returns the key of a request: the one that was sent, else that of the page's session."""
        sent = headers.get(b"x-api-key")
        if sent is not None:
            return self._keys.find(sent)
        cookies = headers.get(b"cookie", b"").decode("latin-1")
        for one in cookies.split(";"):
            name, _, value = one.strip().partition("=")
            if name == SESSION_COOKIE:
                return self._keys.find_session(value)
        return None

    def _refuse_body(self, scope: Scope, headers: dict[bytes, bytes]) -> Refusal | None:
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limit(scope):
            size = f"the body has {int(length)} bytes, at most {self._limit(scope)}"
            return Refusal.of_status(413, size)
        wanted = "application/x-ndjson" if scope["path"] == BULK_PATH else "application/json"
        kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        has_body = length != b"0" or b"transfer-encoding" in headers
        # A form or a plain text needs no leave of the browser's (no preflight); these do.
        if scope["method"] in _WITH_BODY and has_body and kind != wanted:
            return Refusal(
                415,
                "unsupported_media_type",
                f"the body is {kind or 'of no type'}",
                f"send it with content-type: {wanted}",
            )
        return None

    def _note(self, scope: Scope, response: _TrackedResponse) -> None:
        key: ApiKey | None = scope.get("api_key")
        route = getattr(scope.get("route"), "path", None)
        path = scope["path"].removeprefix(GORSE_PREFIX).removeprefix("/api/")
        kind, _, rest = path.partition("/")
        self._audit.add(
            key=None if key is None else key.name,
            role=None if key is None else key.role,
            address=(scope.get("client") or (None,))[0],
            method=scope["method"],
            route=route,
            item_id=_audited_item(kind, rest) if route is not None else None,
            rule=rest if kind == "rules" and route is not None else None,
            status=response.status,
            request_id=response.request_id,
        )

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


def _audited_item(kind: str, rest: str) -> str | None:
    """Returns the item that a path names after its first part; Gorse's may name a category too."""
    if kind == "item":
        return rest.partition("/category/")[0]
    return rest if kind == "items" else None


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

    async def refuse(self, refusal: Refusal) -> None:
        """Answers with an error, unless an answer has begun already."""
        if self.status:
            return
        status = refusal.status
        content = error_body(
            refusal.code, refusal.message, refusal.remedy, request_id=self.request_id
        )
        payload = json.dumps(content).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(payload)).encode()),
        ]
        if status == 429:
            headers.append((b"retry-after", b"1"))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": payload})
