"""Many events at once, written as the database takes them fastest and read with their identity."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import sqlalchemy as sa

from client.store.identity import content_digests, id_hashes
from client.store.schema import events

ROWS = 50_000
"""Events that are handed to the database together."""
MANY = 200_000
"""Events of a first import from which on its indexes are built after them."""
COLUMNS = (
    *("event_id", "user_key", "item_key", "time", "event_type", "weight", "quantity", "price"),
    *("session", "digest", "session_id"),
)
Progress = Callable[[int, int], None]
Keys = npt.NDArray[np.int64]


def insert_events(
    connection: sa.Connection,
    n: int,
    table_of: Callable[[slice], pa.Table],
    progress: Progress | None = None,
) -> None:
    """Adds events, a part at a time.

    Args:
        connection: In a transaction that writes.
        n: Number of events.
        table_of: Gives `COLUMNS` of a part of them.
        progress: Gets how many are written, of how many.
    """
    copy = connection.dialect.name == "postgresql"
    indexes = [index for index in events.indexes if not index.unique]
    # To sort once is quicker than to keep an index sorted with each of millions of rows. In one
    # transaction with the rows: a kill leaves the indexes as they were.
    anew = n >= MANY and not connection.scalar(sa.select(sa.exists().select_from(events)))
    for index in indexes if anew else ():
        index.drop(connection)
    for start in range(0, n, ROWS):
        (_copy if copy else _execute)(connection, table_of(slice(start, min(start + ROWS, n))))
        if progress is not None:
            progress(min(start + ROWS, n), n)
    for index in indexes if anew else ():
        index.create(connection)


def _rows(table: pa.Table, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    return zip(*(table[name].to_pylist() for name in names), strict=True)


def _execute(connection: sa.Connection, table: pa.Table) -> None:
    marks = ", ".join("?" * len(COLUMNS))
    sql = f"INSERT INTO {events.name} ({', '.join(COLUMNS)}) VALUES ({marks})"  # noqa: S608
    connection.exec_driver_sql(sql, list(_rows(table, COLUMNS)))


def _copy(connection: sa.Connection, table: pa.Table) -> None:
    import psycopg

    text = io.BytesIO()
    pyarrow.csv.write_csv(
        table.select(COLUMNS), text, pyarrow.csv.WriteOptions(include_header=False)
    )
    raw: Any = connection.connection.driver_connection
    sql = f"COPY {events.name} ({', '.join(COLUMNS)}) FROM STDIN WITH (FORMAT csv)"
    try:
        with raw.cursor() as cursor, cursor.copy(sql) as copy:
            copy.write(text.getbuffer())
    except psycopg.Error as error:
        raise sa.exc.DBAPIError(sql, None, error) from error


def update_events(connection: sa.Connection, keys: Keys, table: pa.Table) -> None:
    """Puts the rows of `COLUMNS` in place of the events of these keys, `(n,)`.

    An event that has an id keeps it where the row brings none.
    """
    if not len(keys):
        return
    assignments = ", ".join(f"{name} = :{name}" for name in COLUMNS if name != "event_id")
    assignments += ", event_id = COALESCE(:event_id, event_id)"
    statement = sa.text(f"UPDATE {events.name} SET {assignments} WHERE event_key = :key")  # noqa: S608
    rows = [
        dict(zip(COLUMNS, row, strict=True)) | {"key": key}
        for row, key in zip(_rows(table, COLUMNS), keys.tolist(), strict=True)
    ]
    connection.execute(statement, rows)


def delete_events(connection: sa.Connection, keys: Keys) -> None:
    """Deletes the events of these keys, `(n,)`."""
    for start in range(0, len(keys), ROWS):
        rows = [{"key": key} for key in keys[start : start + ROWS].tolist()]
        connection.execute(
            sa.text(f"DELETE FROM {events.name} WHERE event_key = :key"),  # noqa: S608
            rows,
        )


@dataclass(frozen=True, eq=False)
class StoredIdentities:
    """What the stored events are, in order of their keys, all `(n,)`.

    Attributes:
        key: `event_key`.
        digest: Of the content.
        id_hash: Of the shop's own id, 0 for none; good in this process alone.
        visited: Whether it came with the name of a visit.
        early: Whether it is from before the time that was read from; it has an id then.
    """

    key: Keys
    digest: npt.NDArray[np.int64]
    id_hash: npt.NDArray[np.uint64]
    visited: npt.NDArray[np.bool_]
    early: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.key)


def text_hashes(texts: Sequence[str] | pd.Series[str]) -> npt.NDArray[np.uint64]:
    """Returns a quick hash of each text, `(n,)`, 0 for "" or None; good in this process alone."""
    values = np.asarray(texts, dtype=object)
    filled = np.array([bool(text) for text in values], dtype=bool)
    hashes = np.zeros(len(values), np.uint64)
    if filled.any():
        chosen = values[filled].astype(object)
        hashes[filled] = pd.util.hash_array(chosen, categorize=False) | np.uint64(1)
    return hashes


def read_identities(connection: sa.Connection, *, since: float | None = None) -> StoredIdentities:
    """Reads what the stored events are.

    Args:
        connection: To read from.
        since: Only events of this time or later, and all that have an id: a source may have moved
            those. None for all.
    """
    named = connection.scalar(sa.select(sa.exists().where(events.c.event_id.is_not(None))))
    visited = connection.scalar(sa.select(sa.exists().where(events.c.session_id.is_not(None))))
    # Texts are read only where there are any: they cost more than all the rest.
    event_id = "event_id" if named else "NULL"
    visit = "session_id IS NOT NULL" if visited else "0 = 1"
    early, where = "0 = 1", ""
    if since is not None:
        early, where = "time < :since", "WHERE time >= :since OR event_id IS NOT NULL"
    query = sa.text(
        f"SELECT event_key, digest, {visit}, {early}, {event_id} FROM events {where} "  # noqa: S608
        "ORDER BY event_key"
    )
    result = connection.execute(
        query,
        {} if since is None else {"since": since},
        execution_options={"stream_results": True},
    )
    parts = [_identities(rows, named=bool(named)) for rows in batches(result)]
    if not parts:
        return _identities([], named=False)
    fields = StoredIdentities.__dataclass_fields__
    return StoredIdentities(*(np.concatenate([getattr(p, f) for p in parts]) for f in fields))


_IDENTITY = np.dtype(
    [("key", np.int64), ("digest", np.int64), ("visited", np.bool_), ("early", np.bool_)]
)


def _identities(rows: Sequence[Any], *, named: bool) -> StoredIdentities:
    table = np.fromiter((row[:4] for row in rows), dtype=_IDENTITY, count=len(rows))
    ids = text_hashes([row[4] or "" for row in rows]) if named else np.zeros(len(rows), np.uint64)
    return StoredIdentities(
        key=table["key"].copy(),
        digest=table["digest"].copy(),
        id_hash=ids,
        visited=table["visited"].copy(),
        early=table["early"].copy(),
    )


def batches(result: sa.CursorResult[Any], size: int = 20_000) -> Iterator[Sequence[Any]]:
    """Fetches rows as plain tuples, a batch at a time.

    Raises:
        DBAPIError: The database refused a batch.
    """
    # SQLAlchemy has the first one already where a server streams. The others are taken from the
    # driver itself: through SQLAlchemy they took four times as long.
    rows = [tuple(row) for row in result.fetchmany(1)]
    cursor: Any = result.cursor
    faults = result.context.dialect.loaded_dbapi.Error
    while rows:
        yield rows
        try:
            rows = cursor.fetchmany(size)
        except faults as error:
            raise sa.exc.DBAPIError("fetch", None, error) from error


def fill_digests(connection: sa.Connection) -> int:
    """Gives the events of an older version their digests; returns how many that were."""
    filled = after = 0
    query = sa.text(
        "SELECT e.event_key, u.user_id, i.item_id, e.time, e.event_type, e.weight, e.quantity, "
        "e.price FROM events e JOIN users u ON u.user_key = e.user_key "
        "JOIN items i ON i.item_key = e.item_key WHERE e.digest IS NULL "
        "AND e.event_key > :after ORDER BY e.event_key LIMIT :n"
    )
    while rows := connection.execute(query, {"n": ROWS, "after": after}).fetchall():
        columns = list(zip(*rows, strict=True))
        digests = content_digests(
            user=id_hashes(columns[1]),
            item=id_hashes(columns[2]),
            session=None,
            time=np.array(columns[3], np.float64),
            event_type=np.array(columns[4], np.int64),
            weight=np.array(columns[5], np.float64),
            quantity=np.array(columns[6], np.float64),
            price=np.array(columns[7], np.float64),
        )
        changes = [
            {"key": key, "digest": digest}
            for key, digest in zip(columns[0], digests.tolist(), strict=True)
        ]
        connection.execute(
            sa.text("UPDATE events SET digest = :digest WHERE event_key = :key"), changes
        )
        filled, after = filled + len(rows), columns[0][-1]
    return filled
