"""What a reader answers itself, and that only a reader may say who has sent a request."""

from __future__ import annotations

import asyncio

import pytest

from client.serving.workers.forwarding import SenderOf, is_own


@pytest.mark.parametrize(
    ("method", "path", "own"),
    [
        ("GET", b"/api/recommend/u1", True),
        ("GET", b"/api/recommend/a%2Fb", True),
        ("GET", b"/api/items/a%2Fsimilar/similar", True),
        ("POST", b"/api/session/recommend", True),
        ("GET", b"/api/popular", True),
        ("GET", b"/api/items/a%2Fsimilar", False),
        ("DELETE", b"/api/users/u1", False),
        ("POST", b"/api/feedback", False),
        ("GET", b"/health/ready", False),
        ("GET", b"/", False),
    ],
)
def test_a_reader_answers_what_needs_the_state_alone(method: str, path: bytes, own: bool) -> None:
    assert is_own({"method": method, "raw_path": path}) is own


def sender(header: bytes) -> tuple[str, int]:
    seen = {}

    async def app(scope, _receive, _send) -> None:
        seen.update(scope)

    scope = {
        "type": "http",
        "client": ("127.0.0.1", 5),
        "headers": [(b"x-fedprofile-sender", header)],
    }
    asyncio.run(SenderOf(app, "the secret")(scope, None, None))  # type: ignore[arg-type]
    return seen["client"]


def test_only_a_reader_says_whose_request_it_passes_on() -> None:
    assert sender(b"the secret 10.0.0.7") == ("10.0.0.7", 0)
    assert sender(b"another secret 10.0.0.7") == ("127.0.0.1", 5)
    assert sender(b"") == ("127.0.0.1", 5)
