"""Says why the server refuses this node's signature: most often a clock that is off.

Every request is signed with the node's time. flwr 1.41 takes 5 s ahead of the server's clock and
300 s behind, and answers anything else like a wrong key.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import httpx

AHEAD, BEHIND = 5, 300
"""Seconds that the server takes."""


class SignatureRefusals:
    """Remembers the last answer that refused a signature."""

    def __init__(self) -> None:
        self._ahead: float | None = None
        self.seen = False

    def note(self, response: httpx.Response) -> None:
        """Notes an answer, and how far this machine's clock is ahead of the server's."""
        self.seen = response.status_code == httpx.codes.UNAUTHORIZED
        date = response.headers.get("date")
        self._ahead = None
        if date is not None:
            self._ahead = time.time() - parsedate_to_datetime(date).timestamp()

    def reason(self) -> str | None:
        """Returns one line about the clock, None where the clock is right."""
        if not self.seen or self._ahead is None or -BEHIND <= self._ahead <= AHEAD:
            return None
        side = "ahead of" if self._ahead > 0 else "behind"
        return (
            f"clock is {abs(self._ahead):.0f} s {side} the server's, at most {AHEAD} s ahead or "
            f"{BEHIND} s behind are taken; set the clock of the machine that is wrong (NTP)"
        )


REFUSALS = SignatureRefusals()
"""Of this process's SuperNode."""
