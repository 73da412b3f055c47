"""One process alone keeps a database's state in memory and on the disk; another is refused."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from client.store.database import hide_password
from shared.errors import RunExistsError
from shared.runtime.file_store import writing

_POSTGRESQL_LOCK = 0x66656470726F66
"""Number of the advisory lock, "fedprof" in ASCII; PostgreSQL keeps it for each database."""


@dataclass(frozen=True, eq=False)
class ServingLock:
    """Held until `release`, or until the process ends, however it ends.

    Attributes:
        held: An open file, or a connection to PostgreSQL.
    """

    held: Any

    @staticmethod
    def take(engine: sa.Engine) -> ServingLock | None:
        """Takes the lock of a database; None where another process holds it.

        Raises:
            StorageError: The file of the lock cannot be made.
        """
        if engine.dialect.name == "postgresql":
            connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            query = sa.text("SELECT pg_try_advisory_lock(:number)")
            if connection.scalar(query, {"number": _POSTGRESQL_LOCK}):
                return ServingLock(connection)
            connection.close()
            return None
        path = Path(f"{engine.url.database}.serving")
        with writing(path, name="lock", remedy="let this user write beside the database"):
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        return ServingLock(file)

    def release(self) -> None:
        """Gives the lock back."""
        if isinstance(self.held, int):
            os.close(self.held)
        else:
            self.held.execute(sa.text("SELECT pg_advisory_unlock_all()"))
            self.held.close()


def served_already(url: str) -> RunExistsError:
    """Returns the error of a second service on one database."""
    return RunExistsError(
        "is served by another process, and one alone may keep its state",
        name="store",
        value=hide_password(url),
        remedy="stop that process, or send requests to it",
    )
