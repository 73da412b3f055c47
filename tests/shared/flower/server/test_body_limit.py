"""What the SuperLink reads of a request that is too large: nothing of it reaches Flower."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
from starlette.types import Message, Receive, Scope, Send

from server.runs.releases import HEADER_BYTES, check_release_sizes
from shared.errors import ConfigError
from shared.flower.server.superlink import (
    MAX_BODY_BYTES,
    MAX_RELEASE_BYTES,
    MAX_RUNTIME_BODY_BYTES,
    BodyLimit,
)
from shared.releases.pair_sums import n_pairs
from shared.settings.plan_bounds import MAX_HEAD

BLOCK = bytes(1_000_000)
PATHS = [
    ("/v1/fleet/push-object", MAX_BODY_BYTES),
    ("/v1/control/start-run", MAX_BODY_BYTES),
    ("/health", MAX_BODY_BYTES),
    ("/v1/runtime/push-object", MAX_RUNTIME_BODY_BYTES),
]


def answer(path: str, *, size: int, said: bool) -> tuple[int, int]:
    """Sends a request; returns the status and the bytes that came through."""
    came, statuses = [0], []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        while (message := await receive())["type"] == "http.request":
            came.append(len(message["body"]))
            if not message["more_body"]:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                return

    def blocks() -> Iterator[Message]:
        for start in range(0, size, len(BLOCK)):
            body, more = BLOCK[: size - start], start + len(BLOCK) < size
            yield {"type": "http.request", "body": body, "more_body": more}

    sent = blocks()

    async def receive() -> Message:
        return next(sent)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    headers = [(b"content-length", str(size).encode())] if said else []
    scope = {"type": "http", "path": path, "method": "POST", "headers": headers}
    asyncio.run(BodyLimit(app)(scope, receive, send))
    (status,) = statuses
    return status, sum(came)


@pytest.mark.parametrize(("path", "most"), PATHS)
def test_a_body_may_have_its_path_s_bound_and_no_byte_more(path: str, most: int) -> None:
    assert answer(path, size=most, said=True) == (200, most)
    assert answer(path, size=most, said=False) == (200, most)
    assert answer(path, size=most + 1, said=True) == (413, 0)
    status, came = answer(path, size=most + 1, said=False)
    assert (status, came <= most) == (413, True)


def test_every_release_that_a_run_may_make_can_be_sent() -> None:
    assert (
        4 * (MAX_HEAD + n_pairs(MAX_HEAD)) + HEADER_BYTES
        < MAX_RELEASE_BYTES
        < MAX_RUNTIME_BODY_BYTES
    )
    large = np.broadcast_to(np.float32(0), (MAX_RELEASE_BYTES - HEADER_BYTES) // 4)
    check_release_sizes({"A": large}, n_items=len(large))
    with pytest.raises(ConfigError, match="adapter=255000004 must be at most 255000000 bytes"):
        check_release_sizes({"A": large, "B": large[:1]}, n_items=1)
    with pytest.raises(ConfigError, match=r"counts=.* make the catalogue smaller"):
        check_release_sizes({"A": large}, n_items=len(large) + 1)
