"""Single events and carts as the histories in memory hold them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from client.serving.histories import KIND, UserEvents
from client.store.records import Event


def row_of(event: Event, item: int) -> UserEvents:
    """Returns a stored event as a history of length 1.

    Args:
        event: What was stored.
        item: Row of its item.
    """
    kind = KIND[event.event_type]
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


def rows_of_cart(items: npt.NDArray[np.int64], now: float) -> UserEvents:
    """Returns a session's items as events of one moment that nobody stores.

    Args:
        items: Rows of distinct items, `(n,)`.
        now: The moment.
    """
    n = len(items)
    kind = KIND[0]
    return UserEvents(
        item=items.astype(np.int32),
        time=np.full(n, now),
        event_type=np.zeros(n, np.uint8),
        amount=np.full(n, kind, np.float32),
        visit=np.full(n, kind, np.float32),
        price=np.full(n, np.nan, np.float32),
        session=np.full(n, -1, np.int64),
    )
