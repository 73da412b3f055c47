"""What is stored, read page by page for Gorse's lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Query

from client.serving.features.events import today
from client.serving.http.gorse.feedback_types import has_type
from client.serving.http.routing import decode_cursor, encode_cursor
from client.serving.service.service import Service
from client.store.database import UnknownError
from client.store.schema import events, items, users

Cursor = Annotated[str, Query(max_length=100)]
PageN = Annotated[int, Query(ge=1, le=10_000)]
_ALL = 100_000
"""Feedback in one answer at most where Gorse has no pages."""


def read_user(service: Service, user_id: str) -> Any:
    """Returns a user's row.

    Raises:
        UnknownError: There is none.
    """
    with service.store.reading() as connection:
        row = connection.execute(sa.select(users).where(users.c.user_id == user_id)).first()
    if row is None:
        raise UnknownError(
            "is not stored", name="user_id", value=f"{user_id!r}", remedy="check its spelling"
        )
    return row


def read_page(
    service: Service, table: sa.Table, *, cursor: str, n: int
) -> tuple[str, Sequence[Any]]:
    """Returns rows of users or items in order of arrival, and the next cursor, "" for none."""
    key = next(iter(table.c))
    query = sa.select(table).where(key > decode_cursor(cursor or None)).order_by(key)
    return _page(service, query, key.name, n)


def read_feedback(
    service: Service,
    *,
    cursor: str = "",
    n: int = _ALL,
    types: Sequence[str] = (),
    user_id: str | None = None,
    item_id: str | None = None,
) -> tuple[str, Sequence[Any]]:
    """Returns events with the ids of their users and items, and the next cursor.

    Args:
        service: Whose events.
        cursor: "" for the first page.
        n: Rows at most.
        types: Names of feedback; none for all.
        user_id: Of this user alone; None for all.
        item_id: With this item alone; None for all.
    """
    query = (
        sa.select(events, users.c.user_id, items.c.item_id)
        .join(users, events.c.user_key == users.c.user_key)
        .join(items, events.c.item_key == items.c.item_key)
        .where(events.c.event_key > decode_cursor(cursor or None))
        .order_by(events.c.event_key)
    )
    if types:
        query = query.where(has_type(types))
    if user_id is not None:
        query = query.where(users.c.user_id == user_id)
    if item_id is not None:
        query = query.where(items.c.item_id == item_id)
    if service.engine.sources.time_unit == "days":
        query = query.where(events.c.time <= today())  # what was written back for later
    return _page(service, query, "event_key", n)


def _page(service: Service, query: sa.Select[Any], key: str, n: int) -> tuple[str, Sequence[Any]]:
    with service.store.reading() as connection:
        rows = connection.execute(query.limit(n + 1)).all()
    if len(rows) <= n:
        return "", rows
    return encode_cursor(getattr(rows[n - 1], key)), rows[:n]
