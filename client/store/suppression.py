"""Who was deleted, as keyed hashes: an import that still holds them does not bring them back.

The list names nobody. Its key lies in the same database, as the list has to work wherever that is
restored: who holds the database can test whether an id that he knows is on it, and nothing more.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from client.store.schema import deleted_items, events, facts, items, suppressed_users

KEY_FACT = "suppression_key"
"""Name of the fact that holds the key, 32 bytes in capital hexadecimal."""


@dataclass(frozen=True)
class SuppressionList:
    """Who was deleted from one database.

    Attributes:
        key: Of the hashes; b"" where nobody was ever deleted.
        hashes: Since when each hash is on the list, in days since 1970.
    """

    key: bytes
    hashes: dict[str, float]

    def members(self, user_ids: Iterable[str]) -> set[str]:
        """Returns those of the ids that are on the list."""
        if not self.hashes:
            return set()
        return {user_id for user_id in user_ids if _digest(self.key, user_id) in self.hashes}


def suppress_user(connection: sa.Connection, user_id: str) -> None:
    """Puts a user on the list; nothing changes where it is there."""
    digest = _digest(_key(connection), user_id)
    if not _listed(connection, [digest]):
        row = {"id_hash": digest, "since": time.time() / 86_400.0}
        connection.execute(sa.insert(suppressed_users), [row])


def readmit_user(connection: sa.Connection, user_id: str) -> bool:
    """Takes a user off the list; says whether it was there."""
    digest = _digest(_key(connection), user_id)
    result = connection.execute(
        sa.delete(suppressed_users).where(suppressed_users.c.id_hash == digest)
    )
    return bool(result.rowcount)


def suppressed_of(connection: sa.Connection, user_ids: Iterable[str]) -> set[str]:
    """Returns those of the ids that are on the list."""
    ids = list(user_ids)
    if not ids or not connection.scalar(sa.select(sa.exists().select_from(suppressed_users))):
        return set()
    key = _key(connection)
    digests = {_digest(key, user_id): user_id for user_id in ids}
    return {digests[digest] for digest in _listed(connection, list(digests))}


def suppressed_count(connection: sa.Connection) -> int:
    """Returns how many users are on the list."""
    return int(connection.scalar(sa.select(sa.func.count()).select_from(suppressed_users)) or 0)


def read_suppressed(connection: sa.Connection) -> SuppressionList:
    """Returns the whole list."""
    rows = connection.execute(sa.select(suppressed_users))
    hashes = {str(row[0]): float(row[1]) for row in rows}
    return SuppressionList(_stored_key(connection) or b"", hashes)


def merge_suppressed(connection: sa.Connection, other: SuppressionList) -> None:
    """Adds another list, as a restored database lacks its latest deletions.

    Two lists with different keys cannot become one, as neither names anybody: then this database's
    own stays as it is, and `SuppressionList.members` says who of its users the other one holds.
    """
    if not other.hashes:
        return
    if not suppressed_count(connection):
        connection.execute(sa.delete(facts).where(facts.c.name == KEY_FACT))
        _store_key(connection, other.key)
    if _key(connection) != other.key:
        return
    listed = _listed(connection, list(other.hashes))
    rows = [{"id_hash": h, "since": s} for h, s in other.hashes.items() if h not in listed]
    if rows:
        connection.execute(sa.insert(suppressed_users), rows)


def delete_items_again(connection: sa.Connection, item_ids: Iterable[str]) -> None:
    """Deletes items that a restored database holds though they were deleted since."""
    for item_id in item_ids:
        mark_item_deleted(connection, item_id)
        key_of = sa.select(items.c.item_key).where(items.c.item_id == item_id)
        connection.execute(sa.delete(events).where(events.c.item_key.in_(key_of)))
        connection.execute(sa.delete(items).where(items.c.item_id == item_id))


def deleted_item_ids(connection: sa.Connection) -> tuple[str, ...]:
    """Returns the items that were deleted."""
    return tuple(str(name) for name in connection.scalars(sa.select(deleted_items.c.item_id)))


def mark_item_deleted(connection: sa.Connection, item_id: str) -> None:
    """Notes that an item was deleted."""
    allow_items(connection, [item_id])
    connection.execute(sa.insert(deleted_items), [{"item_id": item_id}])


def allow_items(connection: sa.Connection, item_ids: Iterable[str]) -> None:
    """Forgets that items were deleted: they are sent again on purpose."""
    chosen = deleted_among(connection, item_ids)
    for item_id in chosen:
        connection.execute(sa.delete(deleted_items).where(deleted_items.c.item_id == item_id))


def deleted_among(connection: sa.Connection, item_ids: Iterable[str]) -> set[str]:
    """Returns those of the items that were deleted."""
    gone = set(connection.scalars(sa.select(deleted_items.c.item_id)))
    return gone.intersection(item_ids) if gone else set()


def _listed(connection: sa.Connection, digests: list[str]) -> set[str]:
    listed: set[str] = set()
    for start in range(0, len(digests), 500):
        part = digests[start : start + 500]
        query = sa.select(suppressed_users.c.id_hash).where(suppressed_users.c.id_hash.in_(part))
        listed |= set(connection.scalars(query))
    return listed


def _key(connection: sa.Connection) -> bytes:
    key = _stored_key(connection)
    if key is None:
        key = secrets.token_bytes(32)
        _store_key(connection, key)
    return key


def _stored_key(connection: sa.Connection) -> bytes | None:
    stored = connection.scalar(sa.select(facts.c.value).where(facts.c.name == KEY_FACT))
    return None if stored is None else bytes.fromhex(json.loads(stored))


def _store_key(connection: sa.Connection, key: bytes) -> None:
    value = json.dumps(key.hex().upper())
    connection.execute(sa.insert(facts), [{"name": KEY_FACT, "value": value}])


def _digest(key: bytes, user_id: str) -> str:
    name = user_id.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(name, key=key, digest_size=32).hexdigest().upper()
