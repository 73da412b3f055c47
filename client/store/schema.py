"""The tables of a shop's database, and the records of items, users and events in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from shared.errors import DataError

metadata = sa.MetaData()

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""SQLite numbers rows itself only in a column that is exactly INTEGER."""


class NameList(sa.types.TypeDecorator[tuple[str, ...]]):
    """Names in a column of text, as a JSON list."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Sequence[str] | None, dialect: sa.Dialect) -> str:  # noqa: ARG002
        """Writes names."""
        return json.dumps(list(value or ()), ensure_ascii=False)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> tuple[str, ...]:  # noqa: ARG002
        """Reads names."""
        return tuple(json.loads(value)) if value else ()


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
    sa.Column("title", sa.Text, nullable=False, server_default=""),
    sa.Column("url", sa.Text, nullable=False, server_default=""),
    sa.Column("image", sa.Text, nullable=False, server_default=""),
    sa.Column("categories", NameList, nullable=False, server_default="[]"),
    sa.Column("labels", NameList, nullable=False, server_default="[]"),
    sa.Column("currency", sa.Text, nullable=False, server_default=""),
    sa.Column("stock", sa.Double),
    sa.Column("valid_from", sa.Double),
    sa.Column("valid_to", sa.Double),
    sa.Column("extra", sa.Text),
    sqlite_autoincrement=True,
)

"""The order of the columns is that of the fields of `Item`; times are days since 1970 UTC."""

users = sa.Table(
    "users",
    metadata,
    sa.Column("user_key", _KEY, primary_key=True, autoincrement=True),
    sa.Column("user_id", sa.Text, nullable=False, unique=True),
    sa.Column("segment", sa.Text, nullable=False),
    sa.Column("person_id", sa.Text, nullable=False, server_default=""),
    sa.Column("training", sa.Boolean),
    sa.Column("extra", sa.Text),
    sqlite_autoincrement=True,
)
"""`person_id` is "" for a person of its own; `training` is NULL for the store's default; `extra`
holds, here, of items and of events, what another interface knows beyond the columns, as JSON."""

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
    sa.Column("extra", sa.Text),
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

dislikes = sa.Table(
    "dislikes",
    metadata,
    sa.Column("user_key", sa.ForeignKey(users.c.user_key, ondelete="CASCADE"), primary_key=True),
    sa.Column("item_key", sa.ForeignKey(items.c.item_key, ondelete="CASCADE"), primary_key=True),
    sa.Column("time", sa.Double, nullable=False),
    sa.Index("dislikes_item", "item_key"),
)
"""What users said that they do not like; `time` in days since 1970. See `dislikes`."""

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
        text: What describes it, "" for nothing; see `encoded_text`.
        category: Name of its main category, "" for none.
        brand: Name of its brand, "" for none.
        price: In the shop's currency; None where unknown.
        in_stock: Whether it can be sold now.
        hidden: Whether it must never be recommended.
        title: Its name for people, "" for none.
        url: Address of its page, http or https, "" for none.
        image: Address of its picture, http or https, "" for none.
        categories: All its categories; the main one counts whether it is among them or not.
        labels: Words of the shop for sets of items, such as "organic".
        currency: Of the price, as ISO 4217, "" for the shop's own.
        stock: Pieces that are there; None where the shop does not count them.
        valid_from: Days since 1970 UTC from which on it is shown; None for always.
        valid_to: Days since 1970 UTC from which on it is not shown any more; None for never.
        extra: What another interface knows of it beyond these, as JSON; None for nothing.
    """

    item_id: str
    text: str = ""
    category: str = ""
    brand: str = ""
    price: float | None = None
    in_stock: bool = True
    hidden: bool = False
    title: str = ""
    url: str = ""
    image: str = ""
    categories: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    currency: str = ""
    stock: float | None = None
    valid_from: float | None = None
    valid_to: float | None = None
    extra: str | None = None

    @property
    def encoded_text(self) -> str:
        """What is encoded and searched: title and text, the title once."""
        if self.title in self.text:
            return self.text
        return f"{self.title}, {self.text}" if self.text else self.title

    @property
    def all_categories(self) -> tuple[str, ...]:
        """All its categories, the main one first."""
        return tuple(dict.fromkeys(name for name in (self.category, *self.categories) if name))

    @property
    def on_sale(self) -> bool:
        """Whether it is in stock and not hidden; when it is valid is another question."""
        return self.in_stock and self.stock != 0 and not self.hidden


def check_dates(item: Item) -> None:
    """Raises `DataError` where an item would end before it begins."""
    begin, end = item.valid_from, item.valid_to
    if begin is not None and end is not None and end <= begin:
        raise DataError(
            f"must be after valid_from, and is {begin - end:g} days before it",
            name="valid_to",
            value=f"{item.item_id!r}",
            remedy="change one of both; null stands for no bound",
        )


@dataclass(frozen=True)
class User:
    """One customer.

    Attributes:
        user_id: The shop's id.
        segment: A group that the shop puts the user in, "" for none.
        extra: What another interface knows beyond these, as JSON; None for nothing.
    """

    user_id: str
    segment: str = ""
    extra: str | None = None


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
        extra: What another interface knows beyond these, as JSON; None for nothing.
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
    extra: str | None = None


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
