"""The users of a source: segment, person and consent as it says them, never who was deleted."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa

from client.store.changes import keys_of
from client.store.schema import events, users
from client.store.suppression import suppressed_of
from shared.errors import DataError
from shared.interactions.datasets.shop_rows import ShopRows
from shared.interactions.persons import PERSON

CONSENTS: dict[str, bool | None] = {"allow": True, "refuse": False, "": None}
"""Words of the column `training`; an empty cell leaves what is stored."""
_ROWS = 50_000


def import_users(
    connection: sa.Connection, rows: ShopRows, *, taken: npt.NDArray[np.integer[Any]]
) -> tuple[npt.NDArray[np.int64], dict[str, int]]:
    """Stores a source's users.

    Args:
        connection: In a transaction that writes.
        rows: The source.
        taken: Codes of the users whose events are stored.

    Returns:
        The key of each of the source's user codes, `(n_users,)`, 0 for one who is not stored; and
        how many were added and changed.

    Raises:
        DataError: A cell of `training` is neither allow nor refuse.
    """
    described = _described(rows.users)
    ids = dict.fromkeys([*(str(name) for name in rows.user_ids[taken]), *described])
    gone = suppressed_of(connection, ids)
    wanted = [name for name in ids if name not in gone]
    stored = keys_of(connection, users, wanted)
    new = [_NEW | {"user_id": n} | described.get(n, {}) for n in wanted if n not in stored]
    for start in range(0, len(new), _ROWS):
        connection.execute(sa.insert(users), new[start : start + _ROWS])
    changed = _update(
        connection, {n: described[n] for n in wanted if n in stored and n in described}
    )
    keys = keys_of(connection, users, wanted) if new else stored
    coded = np.array([keys.get(str(name), 0) for name in rows.user_ids], np.int64)
    return coded, {"added": len(new), "changed": changed, "deleted": len(gone)}


_NEW: dict[str, Any] = {"segment": "", "person_id": "", "training": None}


def _described(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Returns what a users table says of each user, by the names of our columns."""
    columns = {
        ours: table[theirs].astype("str").fillna("").tolist()
        for ours, theirs in (
            ("segment", "segment"),
            ("person_id", PERSON),
            ("training", "training"),
        )
        if theirs in table
    }
    if not columns:
        return {}
    described: dict[str, dict[str, Any]] = {}
    for place, user_id in enumerate(table.index.astype(str)):
        row: dict[str, Any] = {name: values[place] for name, values in columns.items()}
        if "training" in row:
            consent = consent_of(row.pop("training"), user_id)
            row |= {} if consent is None else {"training": consent}
        described[user_id] = row
    return described


def consent_of(word: str, user_id: str) -> bool | None:
    """Reads a cell of the column `training`; None where it is empty.

    Raises:
        DataError: It is neither allow nor refuse.
    """
    word = word.strip().lower()
    if word not in CONSENTS:
        raise DataError(
            f"users: user {user_id!r}, column training: found {word[:40]!r}, expected allow, "
            "refuse or nothing",
            remedy="correct the cell",
        )
    return CONSENTS[word]


def _update(connection: sa.Connection, described: dict[str, dict[str, Any]]) -> int:
    changed = 0
    names = list(described)
    for start in range(0, len(names), 500):
        part = names[start : start + 500]
        for old in connection.execute(sa.select(users).where(users.c.user_id.in_(part))).fetchall():
            row = described[old.user_id]
            values = {name: value for name, value in row.items() if getattr(old, name) != value}
            if values:
                connection.execute(
                    sa.update(users).where(users.c.user_key == old.user_key).values(values)
                )
                changed += 1
    return changed


def remove_missing_users(connection: sa.Connection, rows: ShopRows) -> int:
    """Removes the users whom a full source lacks and who have no events; returns how many."""
    named = {*map(str, rows.user_ids), *rows.users.index.astype(str)}
    busy = sa.select(events.c.user_key).where(events.c.user_key == users.c.user_key).exists()
    idle = connection.execute(sa.select(users.c.user_key, users.c.user_id).where(~busy))
    missing = [int(key) for key, name in idle if name not in named]
    for key in missing:
        connection.execute(sa.delete(users).where(users.c.user_key == key))
    return len(missing)
