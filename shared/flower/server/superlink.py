"""Flower's SuperLink as it is served: bodies of bounded size, and two options of uvicorn."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn
from flwr.superlink import main as superlink_app
from flwr.superlink.cli import flower_superlink
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.flower.patches import patch_attribute
from shared.keys.private_keys import MAX_PASSPHRASE_BYTES

MAX_RELEASE_BYTES = 256_000_000
"""Bytes of a release's file, which a run sends as one part in one request. The pairs of the largest
head have 50 MB; 256 MB hold an adapter of 64 million numbers."""
MAX_BODY_BYTES = 16_000_000
"""Bytes of one request; flwr sends arrays in parts of 5 MB, and takes bundles of up to 10 MiB."""
MAX_RUNTIME_BODY_BYTES = MAX_RELEASE_BYTES + 1_000_000
"""Bytes of one request of a run, which sends a release's file in one part, with its manifest."""
RUNTIME_PATH = "/v1/runtime/"
GRACEFUL_SHUTDOWN_SECONDS = 3.0
"""Seconds at the end for open connections to close; one whose node trains does not say goodbye."""


def serve_superlink(
    passphrase_from: int | None, *, before: Callable[[], object] | None = None
) -> None:
    """Serves until stopped; Flower reads its options from the command line.

    Args:
        passphrase_from: Inherited pipe with the passphrase of the TLS key; None for a plain key.
        before: Called when all is ready, before Flower takes this thread.

    Raises:
        RunError: The installed Flower has other names.
    """
    patch_body_limit()
    passphrase = None
    if passphrase_from is not None:
        with os.fdopen(passphrase_from, "rb") as pipe:
            passphrase = pipe.read(MAX_PASSPHRASE_BYTES).decode()
    patch_uvicorn(passphrase)
    if before is not None:
        before()
    flower_superlink()


def patch_uvicorn(passphrase: str | None) -> None:
    """Adds two options to the call with which Flower serves the SuperLink.

    Flower: `flower_superlink` calls `uvicorn.run` without `ssl_keyfile_password`, so that an
    encrypted key would be asked for at a terminal, and without `timeout_graceful_shutdown`: it
    waits at its end for every open connection, also for one whose node is in the middle of a round.

    Here: `uvicorn.run` of this process has both. It is uvicorn's attribute that is replaced, since
    Flower calls it through the module.

    Args:
        passphrase: Of the TLS key; None for a plain key.
    """
    options: dict[str, Any] = {"timeout_graceful_shutdown": GRACEFUL_SHUTDOWN_SECONDS}
    if passphrase is not None:
        options["ssl_keyfile_password"] = passphrase
    patch_attribute(uvicorn, run=partial(uvicorn.run, **options))


def patch_body_limit() -> None:
    """Puts `BodyLimit` in front of the SuperLink that this process becomes.

    Flower: `create_app` takes its middleware from `_get_middleware`, and reads a body of any length
    into memory before it looks at the signature: anybody who reaches the port could fill it.

    Here: the limit is the outermost layer, before authentication.
    """
    inner_layers: Any = superlink_app._get_middleware
    patch_attribute(superlink_app, _get_middleware=lambda: [Middleware(BodyLimit), *inner_layers()])


def largest_body(path: str) -> int:
    """Returns the bytes that a request to a path may have."""
    return MAX_RUNTIME_BODY_BYTES if path.startswith(RUNTIME_PATH) else MAX_BODY_BYTES


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
        limit = largest_body(scope["path"])
        refuse = JSONResponse({"detail": "request too large"}, 413)
        length, received = dict(scope["headers"]).get(b"content-length", b"0"), 0
        if not length.isdigit() or int(length) > limit:
            await refuse(scope, receive, send)
            return

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            before, received = received, received + len(message.get("body", b""))
            if received <= limit:
                return message
            if before <= limit:
                await refuse(scope, receive, send)
            return {"type": "http.disconnect"}  # the inner app gives up; nobody hears its answer

        async def send_unless_refused(message: Message) -> None:
            if received <= limit:
                await send(message)

        try:
            await self._app(scope, receive_counted, send_unless_refused)
        except ClientDisconnect:
            if received <= limit:
                raise
