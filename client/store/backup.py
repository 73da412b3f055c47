"""Backup and restore of a shop's database; whoever was deleted since is deleted from it again.

A backup holds no ledger: an old ledger would forget what was spent, so it has a rule of its own
(docs/ledger.md).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from client.store.changes import GENERATION, delete_user, put_fact
from client.store.database import hide_password, open_database, translated, writing
from client.store.reading import IDENTITY_FACT, read_fact
from client.store.schema import events, users
from client.store.serving_lock import ServingLock, served_already
from client.store.suppression import (
    SuppressionList,
    delete_items_again,
    deleted_item_ids,
    merge_suppressed,
    read_suppressed,
    suppressed_of,
)
from shared.errors import ConfigError, DataError, RunError, StorageError
from shared.runtime.file_store import draft_of

_SEAL = b"fedprofile-sha256:"
_POSTGRESQL_MAGIC, _SQLITE_MAGIC = b"PGDMP", b"SQLite format 3\x00"


@dataclass(frozen=True)
class RestoreReport:
    """What a restored database holds.

    Attributes:
        users: Users.
        events: Events.
        deleted_again: Users of the backup who had been deleted since.
        knew_deletions: Whether there was a database whose list of deletions could be applied.
    """

    users: int
    events: int
    deleted_again: int
    knew_deletions: bool


@dataclass(frozen=True)
class _Deletions:
    """What the database before the restore knew, so that it holds afterwards too."""

    users: SuppressionList
    items: tuple[str, ...]
    generation: int
    was_in_use: bool


def back_up(url: str, target: Path) -> None:
    """Writes a copy of a database, whole or not at all, for its owner alone; it may be in use.

    Args:
        url: Of the database.
        target: The file; it must not exist.

    Raises:
        ConfigError: The file exists.
        StorageError: The disk refused.
        StoreUnavailableError: The database does not answer.
    """
    if target.exists():
        raise ConfigError("exists already", name="out", value=target, remedy="name another --out")
    engine = open_database(url)
    try:
        with draft_of(target, name="backup") as draft:
            if engine.dialect.name == "postgresql":
                # One transaction of pg_dump sees one state of the database.
                _postgresql("pg_dump", engine, "--format=custom", f"--file={draft}")
                _seal(draft)
            else:
                with closing(sqlite3.connect(engine.url.database or "")) as source:
                    _copy_sqlite(source, draft)
    finally:
        engine.dispose()


def _copy_sqlite(source: sqlite3.Connection, target: Path) -> None:
    try:
        with closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, with nothing beside it
    except sqlite3.Error as error:
        raise StorageError(
            f"cannot be written ({error})", name="backup", value=target, remedy="free some space"
        ) from error


def restore(url: str, source: Path) -> RestoreReport:
    """Puts a backup in the place of a database, and deletes again who was deleted since.

    Args:
        url: Of the database; what it holds is lost, but for the list of deletions.
        source: The backup.

    Raises:
        DataError: The file is no backup of such a database, or is damaged.
        RunExistsError: A service runs on the database.
    """
    engine = open_database(url)
    try:
        lock = ServingLock.take(engine)
        if lock is None:
            raise served_already(url)
        try:
            known = _read_deletions(engine, url)
            _check(source, postgresql=engine.dialect.name == "postgresql")
            if engine.dialect.name == "postgresql":
                _restore_postgresql(engine, source)
            else:
                _restore_sqlite(engine, source)
            # Under the lock still: no service may begin with who was deleted.
            return _delete_again(url, known)
        finally:
            lock.release()
    finally:
        engine.dispose()


def _read_deletions(engine: sa.Engine, url: str) -> _Deletions:
    with translated(url), writing(engine) as connection:
        suppressed = read_suppressed(connection)
        generation = int(read_fact(connection, GENERATION) or 0)
        was_in_use = read_fact(connection, IDENTITY_FACT) is not None
        return _Deletions(suppressed, deleted_item_ids(connection), generation, was_in_use)


def _check(source: Path, *, postgresql: bool) -> None:
    try:
        with source.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror})", name="from", value=source, remedy="check the path"
        ) from None
    if not start.startswith(_POSTGRESQL_MAGIC if postgresql else _SQLITE_MAGIC):
        raise _no_backup(source, "is no backup of such a database")
    if postgresql:
        if not _is_sealed(source):
            raise _no_backup(source, "is damaged")
        return
    try:
        with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as connection:
            sound = connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    except sqlite3.Error:
        sound, names = False, set()
    if not sound or not {"events", "users", "items", "facts"} <= names:
        raise _no_backup(source, "is damaged or holds no shop's database")


def _seal(path: Path) -> None:
    """Adds the file's SHA-256 behind it, which pg_restore does not read: it takes torn files."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    with path.open("ab") as file:
        file.write(_SEAL + digest)


def _is_sealed(path: Path) -> bool:
    state, left = hashlib.sha256(), path.stat().st_size - len(_SEAL) - 32
    with path.open("rb") as file:
        while left > 0 and (part := file.read(min(left, 1 << 20))):
            state.update(part)
            left -= len(part)
        return file.read() == _SEAL + state.digest()


def _no_backup(source: Path, what: str) -> DataError:
    return DataError(
        f"{what}; nothing was changed",
        name="from",
        value=source,
        remedy="take a file of `fedprofile node backup`",
    )


def _restore_sqlite(engine: sa.Engine, source: Path) -> None:
    database = engine.url.database or ""
    engine.dispose()
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as backup,
        closing(sqlite3.connect(database)) as target,
    ):
        try:
            backup.backup(target)  # one transaction: a kill leaves what was there before
        except sqlite3.Error as error:
            raise StorageError(
                f"cannot be written ({error})", name="store", value=database, remedy="try again"
            ) from error


def _restore_postgresql(engine: sa.Engine, source: Path) -> None:
    _postgresql(
        "pg_restore", engine, "--clean", "--if-exists", "--single-transaction", "--no-owner",
        "--no-privileges", str(source),
    )  # fmt: skip


def _postgresql(program: str, engine: sa.Engine, *options: str) -> None:
    """Runs one of PostgreSQL's programs; the password goes by the environment, not the list."""
    path = shutil.which(program)
    if path is None:
        raise ConfigError(
            "is not installed", name="program", value=program, remedy="install PostgreSQL's client"
        )
    place = engine.url.set(drivername="postgresql", password=None)
    environment = dict(os.environ)
    if engine.url.password:
        environment["PGPASSWORD"] = str(engine.url.password)
    command = [path, *options[:-1], f"--dbname={place.render_as_string()}", options[-1]]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if ended.returncode:
        lines = ended.stderr.strip().splitlines()
        raise RunError(
            f"ended with {ended.returncode} ({lines[-1][:200] if lines else 'no message'})",
            name="program",
            value=program,
            remedy=f"check {hide_password(str(place))} and try again",
        )


def _delete_again(url: str, known: _Deletions) -> RestoreReport:
    engine = open_database(url)  # brings an older backup to the newest form
    try:
        with translated(url), writing(engine) as connection:
            generation = int(read_fact(connection, GENERATION) or 0)
            # Above both: no copy of the state of either fits.
            put_fact(connection, GENERATION, str(max(generation, known.generation) + 1))
            merge_suppressed(connection, known.users)
            delete_items_again(connection, known.items)
            names = [str(name) for name in connection.scalars(sa.select(users.c.user_id))]
            gone = suppressed_of(connection, names) | known.users.members(names)
            for user_id in sorted(gone):
                delete_user(connection, user_id)
            count = sa.select(sa.func.count())
            n_users = int(connection.scalar(count.select_from(users)) or 0)
            n_events = int(connection.scalar(count.select_from(events)) or 0)
        return RestoreReport(n_users, n_events, len(gone), known.was_in_use)
    finally:
        engine.dispose()
