"""Items, users and events as the shop's database holds them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Item:
    """One item of the shop.

    Attributes:
        item_id: The shop's id.
        text: What describes it, "" for nothing.
        category: Name of its category, "" for none.
        brand: Name of its brand, "" for none.
        price: In the shop's currency; None where not given.
        in_stock: Whether it can be sold now.
        hidden: Whether it must never be recommended.
    """

    item_id: str
    text: str = ""
    category: str = ""
    brand: str = ""
    price: float | None = None
    in_stock: bool = True
    hidden: bool = False


@dataclass(frozen=True)
class User:
    """One customer.

    Attributes:
        user_id: The shop's id.
        segment: A group that the shop puts the user in, "" for none.
    """

    user_id: str
    segment: str = ""


@dataclass(frozen=True)
class Event:
    """What one user did with one item.

    Attributes:
        event_id: Makes a repeated delivery harmless.
        user_id: The user.
        item_id: The item.
        time: In the unit of the shop's data, days since 1970 or a rank.
        event_type: Index into `shared.interactions.events.EVENT_TYPES`.
        weight: The shop's own weight of the event.
        quantity: Number of pieces.
        price: Of one piece; None where not given.
        session: Code of the visit, -1 for none.
    """

    event_id: str
    user_id: str
    item_id: str
    time: float
    event_type: int = 0
    weight: float = 1.0
    quantity: float = 1.0
    price: float | None = None
    session: int = -1


@dataclass(frozen=True)
class Stored:
    """An event as it lies in the database, by keys.

    Attributes:
        event_key: Order of arrival.
        user_key: The user.
        item_key: The item.
        event: What was sent.
    """

    event_key: int
    user_key: int
    item_key: int
    event: Event


@dataclass(frozen=True, eq=False)
class EventColumns:
    """Many events as columns, in order of arrival, all `(n,)`.

    Attributes:
        key: `event_key`, int64.
        user: `user_key`, int64.
        item: `item_key`, int64.
        time: In the unit of the shop's data, float64.
        event_type: Index into `EVENT_TYPES`, uint8.
        amount: `weight * log2(1 + quantity)`, float32.
        price: NaN where not given, float32.
        session: -1 for none, int64.
    """

    key: npt.NDArray[np.int64]
    user: npt.NDArray[np.int64]
    item: npt.NDArray[np.int64]
    time: npt.NDArray[np.float64]
    event_type: npt.NDArray[np.uint8]
    amount: npt.NDArray[np.float32]
    price: npt.NDArray[np.float32]
    session: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.key)
