"""The form in which all later parts see behaviour data: coded, sorted, immutable arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

EVENT_TYPES = ("purchase", "view", "click", "cart", "rating", "review", "search")
"""Known event types; `Events.event_type` holds indices into this tuple."""


@dataclass(frozen=True, eq=False)
class Events:
    """Events of one shop, sorted by user, then time, then order of arrival; all arrays `(n,)`.

    Attributes:
        user: Codes into `Shop.user_ids`, int32.
        item: Codes into `Catalogue.item_ids`, int32.
        time: Days since 1970-01-01 UTC, or the order column's value; float64.
        event_type: Indices into `EVENT_TYPES`, uint8.
        weight: The owner's weight of the event, 1 where not given; float32.
        quantity: Number of pieces, 1 where not given; float32.
        price: Price of one piece in the data's currency, NaN where not given; float32.
        session: Code of the visit or basket, -1 where not given; int64.
    """

    user: npt.NDArray[np.int32]
    item: npt.NDArray[np.int32]
    time: npt.NDArray[np.float64]
    event_type: npt.NDArray[np.uint8]
    weight: npt.NDArray[np.float32]
    quantity: npt.NDArray[np.float32]
    price: npt.NDArray[np.float32]
    session: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.user)

    def select(self, rows: npt.NDArray[Any] | slice) -> Events:
        """Returns the rows under a boolean mask, index array or slice."""
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @staticmethod
    def build(
        *,
        user: npt.ArrayLike,
        item: npt.ArrayLike,
        time: npt.ArrayLike,
        event_type: npt.ArrayLike | None = None,
        weight: npt.ArrayLike | None = None,
        quantity: npt.ArrayLike | None = None,
        price: npt.ArrayLike | None = None,
        session: npt.ArrayLike | None = None,
    ) -> Events:
        """Builds sorted events from columns, with the defaults of the class for absent ones."""
        n = len(np.asarray(user))
        specifications = {
            "user": (user, np.int32, 0),
            "item": (item, np.int32, 0),
            "time": (time, np.float64, 0.0),
            "event_type": (event_type, np.uint8, 0),
            "weight": (weight, np.float32, 1.0),
            "quantity": (quantity, np.float32, 1.0),
            "price": (price, np.float32, np.nan),
            "session": (session, np.int64, -1),
        }
        columns = {
            name: np.full(n, default, dtype) if values is None else np.asarray(values).astype(dtype)
            for name, (values, dtype, default) in specifications.items()
        }
        order = np.lexsort((columns["time"], columns["user"]))
        return Events(**{name: values[order] for name, values in columns.items()})


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The public list of items: what may cross a shop's border without being paid for.

    Attributes:
        item_ids: Unique item ids as text, `(n_items,)`, dtype object.
        texts: One text an item, `(n_items,)`; "" for an item without text.
        attributes: Further public columns (`category`, `brand`, `price`, ...), one row an item.
    """

    item_ids: npt.NDArray[np.object_]
    texts: Sequence[str]
    attributes: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __len__(self) -> int:
        return len(self.item_ids)

    def digest(self) -> str:
        """SHA-256 over ids and texts, in order."""
        state = hashlib.sha256()
        for item_id, text in zip(self.item_ids, self.texts, strict=True):
            state.update(f"{item_id}\x1f{text}\x1e".encode())
        return state.hexdigest()


@dataclass(frozen=True, eq=False)
class Shop:
    """One data owner: its users and their events.

    Attributes:
        shop_id: The owner's name.
        user_ids: The shop's user ids as text, `(n_users,)`, dtype object.
        events: The shop's events.
        sells: Mask of the shop's own catalogue `(n_items,)`; None where it may sell all items.
        persons: Person of each user, `(n_users,)`; None where each user is a person.
    """

    shop_id: str
    user_ids: npt.NDArray[np.object_]
    events: Events
    sells: npt.NDArray[np.bool_] | None = None
    persons: npt.NDArray[np.int32] | None = None

    @property
    def n_users(self) -> int:
        """Number of users (never leaves the shop)."""
        return len(self.user_ids)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Everything that one run reads, after cleaning.

    Attributes:
        name: Short name for reports.
        catalogue: The public items that all shops' item codes refer to.
        shops: The data owners.
        report: What was read, dropped and changed, as plain JSON-ready values.
        time_unit: "days" where `Events.time` is a date, "order" where it is a rank.
        scored: Mask `(n_items,)` of items that evaluation scores and fits local models on. Never
            used for anything that leaves a shop.
        users: Optional attributes of users, indexed by `user_id`.
    """

    name: str
    catalogue: Catalogue
    shops: tuple[Shop, ...]
    report: dict[str, Any]
    time_unit: str
    scored: npt.NDArray[np.bool_]
    users: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def shops_share_items(self) -> bool:
        """Whether the shops sell from one catalogue, rather than each from its own."""
        return all(shop.sells is None for shop in self.shops)

    def scored_of(self, shop: Shop) -> npt.NDArray[np.bool_]:
        """Returns the mask `(n_items,)` of scored items that a shop may sell."""
        return self.scored if shop.sells is None else self.scored & shop.sells
