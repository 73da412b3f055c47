"""One event or cart: when it took place, and as rows of the interactions in memory."""

from __future__ import annotations

import time as clock
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from client.recommenders.visits import TYPE_WEIGHT
from client.serving.features.interactions import UserEvents
from client.store.reading import EPOCH, day_as_text
from client.store.schema import Event
from shared.errors import DataError

FIRST_DAY = 3652.0
"""1980-01-01 in days since 1970; earlier dates are errors."""


def today() -> float:
    """Returns this moment in days since 1970."""
    return clock.time() / 86_400.0


def event_day(moment: datetime | None, *, future_seconds: float) -> float:
    """Returns a moment in days since 1970, now for None.

    Raises:
        DataError: It is before 1980 or further ahead of this machine's clock than allowed.
    """
    now = today()
    if moment is None:
        return now
    days = (moment.replace(tzinfo=moment.tzinfo or UTC) - EPOCH) / timedelta(days=1)
    if not FIRST_DAY <= days <= now + future_seconds / 86_400.0:
        raise DataError(
            f"must be between 1980-01-01 and {future_seconds:g} s from now",
            name="time",
            value=moment.isoformat(),
            remedy="correct it, or the clock of this machine",
        )
    return days


def time_as_text(time: float, time_unit: str) -> str | float:
    """Returns a time as an ISO date, or the rank itself."""
    if time_unit != "days":
        return time
    return day_as_text(time)


def event_row(event: Event, item: int) -> UserEvents:
    """Returns a stored event as a history of length 1.

    Args:
        event: What was stored.
        item: Row of its item.
    """
    kind = TYPE_WEIGHT[event.event_type]
    amount = event.weight * np.log2(1.0 + max(event.quantity, 0.0)) * kind
    price = np.nan if event.price is None else event.price
    return UserEvents(
        np.array([item], np.int32),
        np.array([event.time]),
        np.array([event.event_type], np.uint8),
        np.array([amount], np.float32),
        np.array([kind], np.float32),
        np.array([price], np.float32),
        np.array([event.session], np.int64),
    )


def cart_rows(items: npt.NDArray[np.int64]) -> UserEvents:
    """Returns a session's items as events of one moment that nobody stores.

    Args:
        items: Rows of distinct items, `(n,)`.
    """
    n = len(items)
    kind = TYPE_WEIGHT[0]
    return UserEvents(
        item=items.astype(np.int32),
        time=np.zeros(n),
        event_type=np.zeros(n, np.uint8),
        amount=np.full(n, kind, np.float32),
        visit=np.full(n, kind, np.float32),
        price=np.full(n, np.nan, np.float32),
        session=np.full(n, -1, np.int64),
    )
