"""Changes to a shop's database, each on an open connection; the caller commits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import sqlalchemy as sa

from client.store.database import ConflictError, UnknownError
from client.store.identity import content_digests, id_hashes
from client.store.schema import Event, Item, User, events, facts, items, users
from client.store.suppression import allow_items, mark_item_deleted, suppress_user, suppressed_of

GENERATION = "generation"
"""Name of the fact that counts changes and deletions."""
NODE_FACT = "node"
"""Name of the fact that holds the folder of the node that trains on the database."""
DELETIONS_FACT = "deletions"
"""Name of the fact that counts the users who were deleted."""
_CHUNK = 500
"""Values in one IN list at most: SQLite before 3.32 takes 999 parameters in a statement."""


def add_events(connection: sa.Connection, batch: Sequence[Event]) -> list[Event]:
    """Adds the events whose id is not stored yet; unknown users are added.

    Returns:
        The events that are new, in their order.

    Raises:
        UnknownError: An item is not in the database; nothing is added.
        ConflictError: A user was deleted; nothing is added.
    """
    unique = list({event.event_id: event for event in reversed(batch)}.values())[::-1]
    known = _existing_ids(connection, [event.event_id for event in unique])
    fresh = [event for event in unique if event.event_id not in known]
    if not fresh:
        return []
    refuse_deleted(connection, {event.user_id for event in fresh})
    item_keys = keys_of(connection, items, {event.item_id for event in fresh})
    missing = sorted({event.item_id for event in fresh} - set(item_keys))
    if missing:
        raise UnknownError(
            f"is not in the catalogue ({len(missing)} such items)",
            name="item_id",
            value=f"{missing[0]!r}",
            remedy="add it with POST /api/items first",
        )
    user_keys = ensure_users(connection, {event.user_id for event in fresh})
    digests = _digests(fresh)
    rows = [
        _row(event, user_keys, item_keys) | {"digest": digest}
        for event, digest in zip(fresh, digests, strict=True)
    ]
    connection.execute(sa.insert(events), rows)
    return fresh


def refuse_deleted(connection: sa.Connection, user_ids: set[str]) -> None:
    """Keeps out who was deleted: a late message must not begin a history anew.

    Raises:
        ConflictError: One of them was.
    """
    gone = sorted(suppressed_of(connection, user_ids))
    if gone:
        raise ConflictError(
            "was deleted, and what comes of it is not stored",
            name="user_id",
            value=f"{gone[0]!r}",
            remedy="leave it out, or let it in again on purpose with POST "
            "/api/users/USER_ID/readmission",
        )


def _digests(batch: Sequence[Event]) -> list[int]:
    """Returns what an import compares its events with."""
    visits = id_hashes([event.session_id or "" for event in batch])
    visits[[event.session_id is None for event in batch]] = 0
    prices = [np.nan if event.price is None else event.price for event in batch]
    digests = content_digests(
        user=id_hashes([event.user_id for event in batch]),
        item=id_hashes([event.item_id for event in batch]),
        session=visits,
        time=np.array([event.time for event in batch], np.float64),
        event_type=np.array([event.event_type for event in batch], np.int64),
        weight=np.array([event.weight for event in batch], np.float64),
        quantity=np.array([event.quantity for event in batch], np.float64),
        price=np.array(prices, np.float64),
    )
    return [int(digest) for digest in digests]


def replace_events(connection: sa.Connection, batch: Sequence[Event]) -> set[str]:
    """Puts events in place of those with the same ids, or adds them.

    Returns:
        Ids of all users whose events changed.
    """
    touched = {event.user_id for event in batch}
    ids = [event.event_id for event in batch]
    for chunk in _chunks(ids):
        rows = connection.execute(
            sa.select(users.c.user_id)
            .join(events, events.c.user_key == users.c.user_key)
            .where(events.c.event_id.in_(chunk))
        )
        touched |= {row.user_id for row in rows}
        connection.execute(sa.delete(events).where(events.c.event_id.in_(chunk)))
    add_events(connection, batch)
    return touched


def delete_event(connection: sa.Connection, event_id: str) -> str:
    """Deletes one event and returns the id of its user.

    Raises:
        UnknownError: There is none.
    """
    row = connection.execute(
        sa.select(events.c.event_key, users.c.user_id)
        .join(users, events.c.user_key == users.c.user_key)
        .where(events.c.event_id == event_id)
    ).first()
    if row is None:
        raise UnknownError(
            "is not stored",
            name="event_id",
            value=f"{event_id!r}",
            remedy="check it with GET /api/feedback",
        )
    connection.execute(sa.delete(events).where(events.c.event_key == row.event_key))
    return str(row.user_id)


def delete_events_where(
    connection: sa.Connection, user_id: str, condition: sa.ColumnElement[bool]
) -> int:
    """Deletes those of a user's events that meet a condition over `events` and returns how many."""
    keys = keys_of(connection, users, {user_id})
    if not keys:
        return 0
    query = sa.delete(events).where(events.c.user_key == keys[user_id], condition)
    return int(connection.execute(query).rowcount)


def _add(
    connection: sa.Connection, table: sa.Table, column: str, rows: Sequence[dict[str, Any]]
) -> None:
    """Adds rows whose ids in `column` are all new and different; nothing otherwise."""
    ids = {row[column] for row in rows}
    existing = keys_of(connection, table, ids)
    if existing or len(ids) < len(rows):
        raise ConflictError(
            "is there already",
            name=column,
            value=f"{next(iter(existing), rows[0][column])!r}",
            remedy=f"change it with PUT /api/{table.name}",
        )
    connection.execute(sa.insert(table), list(rows))


def add_items(connection: sa.Connection, batch: Sequence[Item]) -> None:
    """Adds new items.

    Raises:
        ConflictError: One is there already; nothing is added.
    """
    _add(connection, items, "item_id", [asdict(item) for item in batch])
    allow_items(connection, [item.item_id for item in batch])


def put_items(connection: sa.Connection, batch: Sequence[Item]) -> None:
    """Adds items or replaces those of the same ids."""
    _upsert(connection, items, "item_id", [asdict(item) for item in batch])
    allow_items(connection, [item.item_id for item in batch])


def item_of(connection: sa.Connection, item_id: str) -> Item:
    """Returns an item as it is stored.

    Raises:
        UnknownError: There is none.
    """
    columns = [items.c[field.name] for field in fields(Item)]
    row = connection.execute(sa.select(*columns).where(items.c.item_id == item_id)).first()
    if row is None:
        raise UnknownError(
            "is not in the catalogue",
            name="item_id",
            value=f"{item_id!r}",
            remedy="check its spelling",
        )
    return Item(**row._mapping)


def delete_item(connection: sa.Connection, item_id: str) -> None:
    """Deletes an item and all its events; an import does not bring it back.

    Raises:
        UnknownError: There is none.
    """
    keys = keys_of(connection, items, {item_id})
    if not keys:
        raise UnknownError(
            "is not in the catalogue",
            name="item_id",
            value=f"{item_id!r}",
            remedy="check its spelling",
        )
    connection.execute(sa.delete(events).where(events.c.item_key == keys[item_id]))
    connection.execute(sa.delete(items).where(items.c.item_key == keys[item_id]))
    mark_item_deleted(connection, item_id)


def add_users(connection: sa.Connection, batch: Sequence[User]) -> None:
    """Adds new users.

    Raises:
        ConflictError: One is there already, or was deleted; nothing is added.
    """
    refuse_deleted(connection, {user.user_id for user in batch})
    _add(connection, users, "user_id", [asdict(user) for user in batch])


def put_users(connection: sa.Connection, batch: Sequence[User]) -> None:
    """Adds users or replaces those of the same ids.

    Raises:
        ConflictError: One was deleted; nothing is stored.
    """
    refuse_deleted(connection, {user.user_id for user in batch})
    _upsert(connection, users, "user_id", [asdict(user) for user in batch])


def delete_user(connection: sa.Connection, user_id: str) -> int:
    """Deletes a user with all events, and keeps the id out of every later import.

    Returns:
        How many events that were.

    Raises:
        UnknownError: There is none.
    """
    keys = keys_of(connection, users, {user_id})
    if not keys:
        raise UnknownError(
            "is not stored", name="user_id", value=f"{user_id!r}", remedy="check its spelling"
        )
    deleted = connection.execute(sa.delete(events).where(events.c.user_key == keys[user_id]))
    connection.execute(sa.delete(users).where(users.c.user_key == keys[user_id]))
    suppress_user(connection, user_id)
    put_fact(connection, DELETIONS_FACT, str(deletions(connection) + 1))
    return int(deleted.rowcount)


def deletions(connection: sa.Connection) -> int:
    """Returns how many users were deleted so far."""
    text = connection.scalar(sa.select(facts.c.value).where(facts.c.name == DELETIONS_FACT))
    return int(text or 0)


def bump_generation(connection: sa.Connection) -> int:
    """Counts a change or deletion of what is stored: older copies in memory are void.

    Returns:
        The number of such changes so far.
    """
    text = connection.scalar(sa.select(facts.c.value).where(facts.c.name == GENERATION))
    generation = int(text or 0) + 1
    put_fact(connection, GENERATION, str(generation))
    return generation


def put_fact(connection: sa.Connection, name: str, value: str) -> None:
    """Sets a single value."""
    _upsert(connection, facts, "name", [{"name": name, "value": value}])


def keys_of(connection: sa.Connection, table: sa.Table, ids: Iterable[str]) -> dict[str, int]:
    """Returns id -> key of those of the items or users that are stored."""
    key_column, id_column = list(table.c)[:2]
    keys: dict[str, int] = {}
    for chunk in _chunks(sorted(ids)):
        rows = connection.execute(sa.select(id_column, key_column).where(id_column.in_(chunk)))
        keys |= {row[0]: int(row[1]) for row in rows}
    return keys


def _existing_ids(connection: sa.Connection, ids: Sequence[str]) -> set[str]:
    existing: set[str] = set()
    for chunk in _chunks(ids):
        existing |= set(
            connection.scalars(sa.select(events.c.event_id).where(events.c.event_id.in_(chunk)))
        )
    return existing


def ensure_users(connection: sa.Connection, ids: set[str]) -> dict[str, int]:
    """Returns the key of each user, adding those who are new."""
    keys = keys_of(connection, users, ids)
    missing = sorted(ids - set(keys))
    if missing:
        rows = [{"user_id": user_id, "segment": ""} for user_id in missing]
        connection.execute(sa.insert(users), rows)
        keys |= keys_of(connection, users, missing)
    return keys


def _row(event: Event, user_keys: dict[str, int], item_keys: dict[str, int]) -> dict[str, Any]:
    row = dict(vars(event))  # asdict copies deeply, which took longer than the insert
    row["user_key"] = user_keys[row.pop("user_id")]
    row["item_key"] = item_keys[row.pop("item_id")]
    return row


def _upsert(
    connection: sa.Connection, table: sa.Table, key: str, rows: Sequence[dict[str, Any]]
) -> None:
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    statement = insert(table)
    changed = {name: statement.excluded[name] for name in rows[0] if name != key}
    latest = list({row[key]: row for row in rows}.values())
    connection.execute(statement.on_conflict_do_update(index_elements=[key], set_=changed), latest)


def _chunks(values: Sequence[str]) -> Iterable[Sequence[str]]:
    return (values[i : i + _CHUNK] for i in range(0, len(values), _CHUNK))
