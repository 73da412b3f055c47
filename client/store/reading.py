"""Reads a shop's database: whole tables as columns for the service, single pages for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa

from client.store.event_rows import batches
from client.store.schema import EventColumns, Item, User, events, facts, items, users

_TYPES = np.dtype(
    [
        *(("event_key", np.int64), ("user_key", np.int64), ("item_key", np.int64)),
        *(("time", np.float64), ("event_type", np.uint8), ("weight", np.float64)),
        *(("quantity", np.float64), ("price", np.float32), ("session", np.int64)),
    ]
)
"""Columns of an event; a missing price becomes NaN."""


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
IDENTITY_FACT = "identity"
"""Name of the fact that holds the database's own name, drawn when it is first opened."""


def read_items(connection: sa.Connection) -> list[tuple[int, Item]]:
    """Returns all items with their keys, in order of their keys."""
    rows = connection.execute(sa.select(items).order_by(items.c.item_key))
    return [(int(row[0]), Item(*row[1:])) for row in rows]


def read_users(connection: sa.Connection) -> list[tuple[int, User]]:
    """Returns all users with their keys, in order of their keys."""
    rows = connection.execute(
        sa.select(users.c.user_key, users.c.user_id, users.c.segment).order_by(users.c.user_key)
    )
    return [(int(row[0]), User(*row[1:])) for row in rows]


def read_events(
    connection: sa.Connection, *, after: int = 0, user_key: int | None = None
) -> EventColumns:
    """Returns events in order of arrival.

    Args:
        connection: To read from.
        after: Only events of larger `event_key`.
        user_key: Only this user's events; None for all.
    """
    of_user = "user_key = :user AND " if user_key is not None else ""
    select = f"SELECT {', '.join(_TYPES.names or ())} FROM events WHERE {of_user}event_key > :after"  # noqa: S608
    result = connection.execute(
        sa.text(f"{select} ORDER BY event_key"),
        {"after": after, "user": user_key},
        execution_options={"stream_results": True},
    )
    return join([_columns(rows) for rows in batches(result)])


def join(parts: Sequence[EventColumns]) -> EventColumns:
    """Puts columns of events behind each other."""
    if not parts:
        return _columns([])
    names = EventColumns.__dataclass_fields__
    return EventColumns(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})


def _columns(rows: Sequence[Any]) -> EventColumns:
    table = np.fromiter(rows, dtype=_TYPES, count=len(rows))
    amount = np.log2(1.0 + np.maximum(table["quantity"], 0.0))
    return EventColumns(
        key=table["event_key"].copy(),
        user=table["user_key"].copy(),
        item=table["item_key"].copy(),
        time=table["time"].copy(),
        event_type=table["event_type"].copy(),
        amount=(table["weight"] * amount).astype(np.float32),
        price=table["price"].copy(),
        session=table["session"].copy(),
    )


def read_fact(connection: sa.Connection, name: str) -> str | None:
    """Returns a single value, None where it was never set."""
    value = connection.scalar(sa.select(facts.c.value).where(facts.c.name == name))
    return None if value is None else str(value)


def day_as_text(time: float) -> str:
    """Returns days since 1970 as an ISO date."""
    return (EPOCH + timedelta(days=time)).isoformat(timespec="seconds")


def days_of(moment: datetime) -> float:
    """Returns a moment as days since 1970."""
    return (moment - EPOCH) / timedelta(days=1)


def content_mark(connection: sa.Connection, last_key: int) -> list[Any]:
    """Returns what tells a database up to an `event_key` from any other.

    It is the database's name of its own, and how many events there are up to the key, with two sums
    over what they are: a database that was restored, or filled anew, has another mark.
    """
    low, high = events.c.digest.op("&")(0x7FFFFFFF), events.c.digest.op("%")(2_147_483_629)
    query = sa.select(sa.func.count(), sa.func.sum(low), sa.func.sum(high))
    row = connection.execute(query.where(events.c.event_key <= last_key)).one()
    return [read_fact(connection, IDENTITY_FACT), *(int(value or 0) for value in row)]


def last_event_key(connection: sa.Connection) -> int:
    """Returns the key of the newest event, 0 for none."""
    return int(connection.scalar(sa.select(sa.func.max(events.c.event_key))) or 0)


def page_of_events(
    connection: sa.Connection, *, after: int, n: int, user_id: str | None
) -> list[dict[str, Any]]:
    """Returns up to `n` events after a key, oldest arrival first, as plain values."""
    shown = [column for column in events.c if column.name not in ("digest", "extra")]
    query = (
        sa.select(*shown, users.c.user_id, items.c.item_id)
        .join(users, events.c.user_key == users.c.user_key)
        .join(items, events.c.item_key == items.c.item_key)
        .where(events.c.event_key > after)
        .order_by(events.c.event_key)
        .limit(n)
    )
    if user_id is not None:
        query = query.where(users.c.user_id == user_id)
    return [dict(row._mapping) for row in connection.execute(query)]


def page_of(connection: sa.Connection, table: sa.Table, *, after: int, n: int) -> list[Any]:
    """Returns up to `n` rows of items or users after a key, in order of their keys."""
    key = next(iter(table.c))
    shown = [column for column in table.c if column.name != "extra"]
    query = sa.select(*shown).where(key > after).order_by(key).limit(n)
    return [dict(row._mapping) for row in connection.execute(query)]
