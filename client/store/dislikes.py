"""What users said that they do not like: kept apart from events, so that nothing learns from it.

A dislike is no event: it is no target, no part of a profile, and nothing of it leaves the shop. It
goes with its user and with its item.
"""

from __future__ import annotations

import time

import sqlalchemy as sa

from client.store.changes import ensure_users, item_of, keys_of, refuse_deleted
from client.store.schema import dislikes, items, users


def set_dislike(connection: sa.Connection, user_id: str, item_id: str, *, disliked: bool) -> None:
    """Stores or takes back that a user does not like an item; an unknown user is added.

    Raises:
        UnknownError: The item is not in the catalogue.
        ConflictError: The user was deleted.
    """
    item_of(connection, item_id)
    refuse_deleted(connection, {user_id})
    item_key = keys_of(connection, items, {item_id})[item_id]
    user_key = ensure_users(connection, {user_id})[user_id]
    connection.execute(
        sa.delete(dislikes).where(dislikes.c.user_key == user_key, dislikes.c.item_key == item_key)
    )
    if disliked:
        row = {"user_key": user_key, "item_key": item_key, "time": time.time() / 86_400.0}
        connection.execute(sa.insert(dislikes), [row])


def read_dislikes(connection: sa.Connection, user_id: str | None = None) -> dict[str, set[str]]:
    """Returns the ids of the items that users do not like, by user; of one user where named."""
    query = (
        sa.select(users.c.user_id, items.c.item_id)
        .join(dislikes, dislikes.c.user_key == users.c.user_key)
        .join(items, dislikes.c.item_key == items.c.item_key)
    )
    if user_id is not None:
        query = query.where(users.c.user_id == user_id)
    by_user: dict[str, set[str]] = {}
    for row in connection.execute(query):
        by_user.setdefault(str(row[0]), set()).add(str(row[1]))
    return by_user
