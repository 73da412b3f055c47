"""Refuses requests of nodes that are too large, before their bodies are in memory.

flwr 1.41 reads a body of any size whole. nginx has a limit of its own; this one holds without it.
"""

from __future__ import annotations

from typing import Any

from flwr.superlink import main as flower
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.deploy.flower_parts import put

MAX_BODY = 16_000_000
"""Bytes of one request; flwr sends arrays in parts of 5 MB."""
FLEET = "/v1/fleet/"


class BodyLimit:
    """ASGI middleware: answers 413 as soon as a body of the fleet interface is known to be too big.

    Args:
        app: What answers otherwise.
        most: Bytes.
    """

    def __init__(self, app: ASGIApp, most: int = MAX_BODY) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on; a length that is not said is counted while the body comes."""
        if scope["type"] != "http" or not scope["path"].startswith(FLEET):
            await self._app(scope, receive, send)
            return
        refuse = JSONResponse({"detail": "request too large"}, 413)
        said, read = dict(scope["headers"]).get(b"content-length", b"0"), 0
        if not said.isdigit() or int(said) > self._most:
            await refuse(scope, receive, send)
            return

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            before, read = read, read + len(message.get("body", b""))
            if read <= self._most:
                return message
            if before <= self._most:
                await refuse(scope, receive, send)
            return {"type": "http.disconnect"}  # what is inside gives up; nobody hears it

        async def heard(message: Message) -> None:
            if read <= self._most:
                await send(message)

        try:
            await self._app(scope, counted, heard)
        except ClientDisconnect:
            if read <= self._most:
                raise


def limit_bodies() -> None:
    """Puts the limit in front of the SuperLink that this process becomes."""
    layers: Any = flower._get_middleware
    put(flower, _get_middleware=lambda: [Middleware(BodyLimit), *layers()])
