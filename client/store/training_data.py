"""The events that a shop may train on, streamed from its database in batches of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import sqlalchemy as sa

from client.store.consent import consent_default, oldest_held, read_consent
from client.store.event_rows import ROWS, batches
from client.store.reading import read_fact
from client.store.schema import events, items, users

_TYPES = np.dtype(
    [
        *(("user_key", np.int64), ("item_key", np.int64), ("time", np.float64)),
        *(("event_type", np.uint8), ("weight", np.float32), ("quantity", np.float32)),
        *(("price", np.float32), ("session", np.int64)),
    ]
)
"""Columns of a batch; a missing price becomes NaN."""


@dataclass(frozen=True, eq=False)
class TrainingUsers:
    """Everybody in the database, in order of the keys, `(n,)`.

    Attributes:
        key: `user_key`, int64.
        user_id: The shop's id, dtype object.
        person_id: "" for a person of its own, dtype object.
        allowed: Whether the user may be trained on.
    """

    key: npt.NDArray[np.int64]
    user_id: npt.NDArray[np.object_]
    person_id: npt.NDArray[np.object_]
    allowed: npt.NDArray[np.bool_]


def read_training_users(connection: sa.Connection) -> TrainingUsers:
    """Reads who may be trained on.

    Where one id of a person refuses, none of the person's ids is trained on.
    """
    silent = consent_default(connection) == "opt-out"
    rows = connection.execute(
        sa.select(users.c.user_key, users.c.user_id, users.c.person_id, users.c.training).order_by(
            users.c.user_key
        )
    ).fetchall()
    person = np.array([row.person_id for row in rows], dtype=object)
    allowed = np.array([silent if r.training is None else bool(r.training) for r in rows], bool)
    refusing = {
        row.person_id
        for row in rows
        if row.person_id and row.training is not None and not row.training
    }
    if refusing:
        allowed &= ~np.array([name in refusing for name in person], bool)
    return TrainingUsers(
        np.array([row.user_key for row in rows], np.int64),
        np.array([row.user_id for row in rows], dtype=object),
        person,
        allowed,
    )


def may_train_on(connection: sa.Connection, user_id: str) -> bool:
    """Says whether a user may be trained on, as `read_training_users` does of all.

    Raises:
        UnknownError: There is no such user.
    """
    said = read_consent(connection, user_id)
    if not (consent_default(connection) == "opt-out" if said is None else said):
        return False
    query = sa.select(users.c.person_id).where(users.c.user_id == user_id)
    person = connection.scalar(query)
    if not person:
        return True
    refusing = sa.select(sa.func.count()).where(
        users.c.person_id == person, users.c.training.is_(False)
    )
    return not connection.scalar(refusing)


def read_item_keys(connection: sa.Connection) -> dict[str, int]:
    """Returns item_id -> key."""
    query = sa.select(items.c.item_id, items.c.item_key)
    return {str(row[0]): int(row[1]) for row in connection.execute(query)}


def stream_events(connection: sa.Connection, *, batch_rows: int = ROWS) -> Iterator[pa.RecordBatch]:
    """Gives all events that are held, in order of arrival, a batch at a time.

    Memory is bounded by one batch, whatever the database holds.

    Args:
        connection: To read from, in one transaction.
        batch_rows: Events in a batch at most.
    """
    oldest = oldest_held(connection)
    where = "" if oldest is None else " WHERE time >= :oldest"
    names = ", ".join(_TYPES.names or ())
    result = connection.execute(
        sa.text(f"SELECT {names} FROM {events.name}{where} ORDER BY event_key"),  # noqa: S608
        {} if oldest is None else {"oldest": oldest},
        execution_options={"stream_results": True},
    )
    for rows in batches(result, batch_rows):
        table: npt.NDArray[Any] = np.fromiter(rows, dtype=_TYPES, count=len(rows))
        yield pa.RecordBatch.from_arrays(
            [pa.array(np.ascontiguousarray(table[name])) for name in _TYPES.names or ()],
            names=list(_TYPES.names or ()),
        )


def store_time_unit(connection: sa.Connection) -> str | None:
    """Returns "days" or "order"; None for a store that holds no event yet."""
    import json

    stored = read_fact(connection, "time_unit")
    return None if stored is None else str(json.loads(stored))
