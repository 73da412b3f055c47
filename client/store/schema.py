"""The tables of a shop's database, and the records of items, users and events in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

metadata = sa.MetaData()

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""SQLite numbers rows itself only in a column that is exactly INTEGER."""

items = sa.Table(
    "items",
    metadata,
    sa.Column("item_key", _KEY, primary_key=True, autoincrement=True),
    sa.Column("item_id", sa.Text, nullable=False, unique=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("category", sa.Text, nullable=False),
    sa.Column("brand", sa.Text, nullable=False),
    sa.Column("price", sa.Double),
    sa.Column("in_stock", sa.Boolean, nullable=False),
    sa.Column("hidden", sa.Boolean, nullable=False),
    sqlite_autoincrement=True,
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("user_key", _KEY, primary_key=True, autoincrement=True),
    sa.Column("user_id", sa.Text, nullable=False, unique=True),
    sa.Column("segment", sa.Text, nullable=False),
    sa.Column("person_id", sa.Text, nullable=False, server_default=""),
    sa.Column("training", sa.Boolean),
    sqlite_autoincrement=True,
)
"""`person_id` is "" for a person of its own; `training` is NULL for the store's default."""

events = sa.Table(
    "events",
    metadata,
    sa.Column("event_key", _KEY, primary_key=True, autoincrement=True),
    sa.Column("event_id", sa.Text),
    sa.Column("user_key", _KEY, nullable=False),
    sa.Column("item_key", _KEY, nullable=False),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("event_type", sa.SmallInteger, nullable=False),
    sa.Column("weight", sa.Double, nullable=False),
    sa.Column("quantity", sa.Double, nullable=False),
    sa.Column("price", sa.Double),
    sa.Column("session", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.BigInteger),
    sa.Column("session_id", sa.Text),
    sa.Index("events_user", "user_key"),
    sa.Index("events_item", "item_key"),
    sa.Index(
        "events_id",
        "event_id",
        unique=True,
        sqlite_where=sa.text("event_id IS NOT NULL"),
        postgresql_where=sa.text("event_id IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)
"""`time` is in the unit of the shop's data; `event_id` is NULL where the source gave none, `digest`
is what `identity.content_digests` makes of the event, NULL in a row of an older version."""

suppressed_users = sa.Table(
    "suppressed_users",
    metadata,
    sa.Column("id_hash", sa.Text, primary_key=True),
    sa.Column("since", sa.Double, nullable=False),
)
"""Users who were deleted, by a keyed hash: no import brings them back; see `suppression`."""

deleted_items = sa.Table(
    "deleted_items",
    metadata,
    sa.Column("item_id", sa.Text, primary_key=True),
)
"""Items that were deleted, so that no import brings them back."""

facts = sa.Table(
    "facts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
"""Single values as JSON: unit of time, fusion weights, online counters, generation, consent."""


@dataclass(frozen=True)
class Item:
    """One item of the shop.

    Attributes:
        item_id: The shop's id.
        text: What describes it, "" for nothing.
        category: Name of its category, "" for none.
        brand: Name of its brand, "" for none.
        price: In the shop's currency; None where unknown.
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
        price: Of one piece; None where unknown.
        session: Code of the visit, -1 for none.
        session_id: The shop's name of the visit; None for none.
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
    session_id: str | None = None


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
        price: NaN where unknown, float32.
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
