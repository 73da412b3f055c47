"""Refuses requests that are too large, before their bodies are in memory.

flwr 1.41 reads a body of any size whole, and before it asks who sent it. nginx has a limit of its
own; this one holds without it.
"""

from __future__ import annotations

from typing import Any

from flwr.superlink import main as flower
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.deploy.release_size import MAX_RELEASE
from shared.deploy.flower_parts import put

MAX_BODY = 16_000_000
"""Bytes of one request; flwr sends arrays in parts of 5 MB, and takes bundles of up to 10 MiB."""
MAX_RUNTIME_BODY = MAX_RELEASE + 1_000_000
"""Bytes of one request of a run, which sends a release's file in one part, with its manifest."""
RUNTIME = "/v1/runtime/"


def largest_body(path: str) -> int:
    """Returns the bytes that a request to a path may have."""
    return MAX_RUNTIME_BODY if path.startswith(RUNTIME) else MAX_BODY


class BodyLimit:
    """ASGI middleware: answers 413 as soon as a body is known to be too big.

    Args:
        app: What answers otherwise.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on; a length that is not said is counted while the body comes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = largest_body(scope["path"])
        refuse = JSONResponse({"detail": "request too large"}, 413)
        said, read = dict(scope["headers"]).get(b"content-length", b"0"), 0
        if not said.isdigit() or int(said) > most:
            await refuse(scope, receive, send)
            return

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            before, read = read, read + len(message.get("body", b""))
            if read <= most:
                return message
            if before <= most:
                await refuse(scope, receive, send)
            return {"type": "http.disconnect"}  # what is inside gives up; nobody hears it

        async def heard(message: Message) -> None:
            if read <= most:
                await send(message)

        try:
            await self._app(scope, counted, heard)
        except ClientDisconnect:
            if read <= most:
                raise


def limit_bodies() -> None:
    """Puts the limit in front of the SuperLink that this process becomes."""
    layers: Any = flower._get_middleware
    put(flower, _get_middleware=lambda: [Middleware(BodyLimit), *layers()])
