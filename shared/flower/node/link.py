"""The node's link to the server: the last answered heartbeat, and why a signature was refused.

Every request is signed with the node's time. flwr 1.41 takes 5 s ahead of the server's clock and
300 s behind, and answers anything else like a wrong key. Nothing of Flower is imported here: a node
reads this before it sets Flower's environment.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import httpx

SILENCE_SECONDS = 35.0
"""Seconds without an answered heartbeat after which a node counts as cut off."""
MAX_AHEAD_SECONDS, MAX_BEHIND_SECONDS = 5, 300
"""How far a node's clock may be off: `flwr.supernode.node_auth_http_interceptor` signs the time."""


class ServerPulse:
    """When the server last answered a heartbeat."""

    def __init__(self) -> None:
        self._last: float | None = None

    def beat(self) -> None:
        """Notes an answer."""
        self._last = time.monotonic()

    def alive(self) -> bool:
        """Says whether the last answer is recent."""
        return self._last is not None and time.monotonic() - self._last < SILENCE_SECONDS


SERVER_PULSE = ServerPulse()
"""Of this process's SuperNode."""


class SignatureRefusals:
    """Remembers the last answer that refused a signature."""

    def __init__(self) -> None:
        self._seconds_ahead: float | None = None
        self.seen = False

    def note(self, response: httpx.Response) -> None:
        """Notes an answer, and how far this machine's clock is ahead of the server's."""
        self.seen = response.status_code == httpx.codes.UNAUTHORIZED
        date = response.headers.get("date")
        self._seconds_ahead = None
        if date is not None:
            self._seconds_ahead = time.time() - parsedate_to_datetime(date).timestamp()

    def reason(self) -> str | None:
        """Says how far the clock is off; None where it is right."""
        ahead = self._seconds_ahead
        if not self.seen or ahead is None or -MAX_BEHIND_SECONDS <= ahead <= MAX_AHEAD_SECONDS:
            return None
        side = "ahead of" if ahead > 0 else "behind"
        return (
            f"clock is {abs(ahead):.0f} s {side} the server's, at most {MAX_AHEAD_SECONDS} s ahead "
            f"or {MAX_BEHIND_SECONDS} s behind are taken"
        )


SIGNATURE_REFUSALS = SignatureRefusals()
"""Of this process's SuperNode."""
