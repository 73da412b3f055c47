"""When an event took place, as the shop's data counts time."""

from __future__ import annotations

import time as clock
from datetime import UTC, datetime, timedelta

from shared.errors import DataError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_DAY = 3652.0
"""1980-01-01 in days since 1970; earlier dates are errors."""


def today() -> float:
    """Returns this moment in days since 1970."""
    return clock.time() / 86_400.0


def day_of(moment: datetime | None, *, future_seconds: float) -> float:
    """Returns a moment in days since 1970, now for None.

    Raises:
        DataError: It is before 1980 or further ahead of this machine's clock than allowed.
    """
    now = today()
    if moment is None:
        return now
    days = (moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH) / timedelta(days=1)
    if not FIRST_DAY <= days <= now + future_seconds / 86_400.0:
        raise DataError(
            f"time={moment.isoformat()} must be between 1980-01-01 and {future_seconds:g} s from "
            "now; correct it, or the clock of this machine"
        )
    return days


def shown(time: float, unit: str) -> str | float:
    """Returns a time as an ISO date, or the rank itself."""
    if unit != "days":
        return time
    return (_EPOCH + timedelta(days=time)).isoformat(timespec="seconds")
