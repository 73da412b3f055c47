"""All that the database holds about one user, for the user: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from client.store.consent import consent_default
from client.store.database import UnknownError
from client.store.reading import day_as_text
from client.store.schema import dislikes, events, items, users
from shared.interactions.events import EVENT_TYPES


def export_user(
    connection: sa.Connection, user_id: str, *, time_text: Callable[[float], str | float]
) -> Iterator[dict[str, Any]]:
    """Gives the user's record, then every event in order of time, with original ids.

    Args:
        connection: To read from.
        user_id: The user.
        time_text: Writes a time.

    Raises:
        UnknownError: There is no such user.
    """
    user = connection.execute(sa.select(users).where(users.c.user_id == user_id)).first()
    if user is None:
        raise UnknownError(
            "is not stored", name="user_id", value=f"{user_id!r}", remedy="check its spelling"
        )
    said = {None: "nothing", True: "allow", False: "refuse"}[user.training]
    yield {
        "kind": "user",
        "user_id": user.user_id,
        "segment": user.segment,
        "person_id": user.person_id or None,
        "training": said,
        "training_default": consent_default(connection),
        **_more(user.extra),
    }
    query = (
        sa.select(events, items.c.item_id, items.c.title, items.c.text)
        .join(items, events.c.item_key == items.c.item_key)
        .where(events.c.user_key == user.user_key)
        .order_by(events.c.time, events.c.event_key)
    )
    for row in connection.execute(query):
        yield {
            "kind": "event",
            "event_id": row.event_id,
            "item_id": row.item_id,
            "item_title": row.title,
            "item_text": row.text,
            "event_type": EVENT_TYPES[row.event_type],
            "time": time_text(row.time),
            "weight": row.weight,
            "quantity": row.quantity,
            "price": row.price,
            "session_id": row.session_id,
            **_more(row.extra),
        }
    chosen = (
        sa.select(dislikes.c.time, items.c.item_id, items.c.title)
        .join(items, dislikes.c.item_key == items.c.item_key)
        .where(dislikes.c.user_key == user.user_key)
        .order_by(dislikes.c.time)
    )
    for row in connection.execute(chosen):
        yield {
            "kind": "dislike",
            "item_id": row.item_id,
            "item_title": row.title,
            "time": day_as_text(row.time),
        }


def _more(extra: str | None) -> dict[str, Any]:
    return {} if extra is None else {"extra": json.loads(extra)}


def as_lines(records: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Writes records as JSON, one a line."""
    return (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
