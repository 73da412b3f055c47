"""Opens a shop's database, durable and in its newest form, and names its faults and remedies."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import make_url
from sqlalchemy.pool import ConnectionPoolEntry

from shared.errors import ConfigError, DataError, RunError, StorageError

BUSY_MS = 5000
"""Milliseconds that SQLite waits for another process's lock."""
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    f"PRAGMA busy_timeout={BUSY_MS}",
    "PRAGMA foreign_keys=ON",
    "PRAGMA secure_delete=ON",
    "PRAGMA cache_size=-131072",
)
"""FULL: a commit is on the disk before it is acknowledged; secure_delete overwrites by zeros."""
_DISK_FULL = ("disk is full", "no space left", "could not extend file", "disk i/o error")


class StoreUnavailableError(RunError):
    """The database is locked, missing or not reachable for now; nothing was lost."""


class StoreFullError(StorageError):
    """The database's disk is full; nothing of the request was kept."""


class UnknownError(DataError):
    """An item, user or event is not in the database."""


class ConflictError(DataError):
    """What is to be added is there already."""


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turns database errors inside the block into one line that holds no data.

    Raises:
        StoreFullError: The disk is full.
        StoreUnavailableError: Any other fault of the database.
    """
    try:
        yield
    except sa.exc.DBAPIError as error:
        cause = str(error.orig).partition("\n")[0].lower()
        place = hide_password(url)
        if any(phrase in cause for phrase in _DISK_FULL):
            raise StoreFullError(
                "its disk is full", name="store", value=place, remedy="free some space"
            ) from error
        locked = "locked" in cause
        reason = "is locked by another process" if locked else "does not answer"
        remedy = "stop that process" if locked else "check that it exists and runs"
        raise StoreUnavailableError(
            reason, name="store", value=place, remedy=f"{remedy} and try again"
        ) from error


def hide_password(url: str) -> str:
    """Returns a database URL without its password."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1@", url)


def open_database(url: str) -> sa.Engine:
    """Opens a database and brings it to the newest form.

    Args:
        url: `sqlite:///path` or `postgresql://user:password@host/name`.

    Raises:
        ConfigError: The URL is for no database that is supported.
        StorageError: SQLite's folder is missing.
        StoreUnavailableError: The database does not answer or is locked.
    """
    engine = _engine(url)
    _protect(engine)
    with translated(url):
        _migrate(engine)
    return engine


def _protect(engine: sa.Engine) -> None:
    """Makes a SQLite file its owner's alone; the files that SQLite puts beside it follow."""
    if engine.dialect.name != "sqlite":
        return
    path = Path(engine.url.database or "")
    with suppress(OSError):  # what is wrong with the file, opening it says
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        if path.stat().st_mode & 0o077 and path.stat().st_uid == os.geteuid():
            for one in (path, *(Path(f"{path}-{end}") for end in ("wal", "shm"))):
                with suppress(FileNotFoundError):
                    one.chmod(0o600)


def store_url(place: str) -> str:
    """Returns the URL of a database that is named as a file or as a URL."""
    return place if "://" in place else sqlite_url(Path(place).expanduser().absolute())


def sqlite_url(path: Path) -> str:
    """Returns the URL of a SQLite file."""
    return f"sqlite:///{path}"


def _engine(url: str) -> sa.Engine:
    try:
        parsed = make_url(url)
    except sa.exc.ArgumentError as error:
        raise ConfigError(
            "is no database URL",
            name="store",
            value=f"{hide_password(url)!r}",
            remedy="write sqlite:///PATH or postgresql://... in --store",
        ) from error
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
        engine = sa.create_engine(parsed, pool_pre_ping=True, connect_args={"connect_timeout": 5})
        sa.event.listen(engine, "connect", _durable_postgresql)
        return engine
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        raise ConfigError(
            "must be sqlite:///PATH or postgresql://...",
            name="store",
            value=hide_password(url),
            remedy="change --store",
        )
    folder = Path(parsed.database).resolve().parent
    if not folder.is_dir():
        raise StorageError(
            f"folder {folder} is missing",
            name="store",
            value=url,
            remedy="make it or change --store",
        )
    engine = sa.create_engine(
        parsed, connect_args={"check_same_thread": False, "timeout": BUSY_MS / 1000}
    )
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: ConnectionPoolEntry) -> None:
    # The driver's own BEGIN would come too late for savepoints; `_begin_sqlite` sends it. See
    # https://docs.sqlalchemy.org/en/20/dialects/sqlite.html on savepoints.
    connection.isolation_level = None
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that reads first gets SQLITE_BUSY when it writes, whatever its busy_timeout, if
    # another one wrote in between: so a writer begins with the lock.
    # https://www.sqlite.org/isolation.html
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Opens a transaction that sees one state of the database, however often it asks."""
    with engine.connect() as connection:
        # PostgreSQL shows each statement a state of its own otherwise; a transaction of SQLite has
        # one by itself. https://www.postgresql.org/docs/current/transaction-iso.html
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Opens a transaction that writes; it is durable once the block has ended."""
    with engine.connect() as opened:
        connection = opened.execution_options(writes=True)
        with connection.begin():
            yield connection


def _durable_postgresql(connection: Any, _record: ConnectionPoolEntry) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = on")
    connection.commit()


def _migrate(engine: sa.Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    newest = ScriptDirectory.from_config(config).get_current_head()
    with engine.connect() as connection:
        # Reading does not wait for whoever writes, such as an import of many events.
        if MigrationContext.configure(connection).get_current_revision() == newest:
            return
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
