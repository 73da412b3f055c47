"""What can go wrong between the service and its database, each with its remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from shared.errors import DataError, RunError, StorageError

_FULL = ("disk is full", "no space left", "could not extend file", "disk i/o error")


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
    """Turns database errors inside the block into one line that names no data.

    Raises:
        StoreFullError: The disk is full.
        StoreUnavailableError: Any other fault of the database.
    """
    try:
        yield
    except sa.exc.DBAPIError as error:
        cause = str(error.orig).partition("\n")[0].lower()
        place = hide_password(url)
        if any(phrase in cause for phrase in _FULL):
            raise StoreFullError(f"store={place}: its disk is full; free some space") from error
        locked = "locked" in cause
        reason = "is locked by another process" if locked else "does not answer"
        remedy = "stop that process" if locked else "check that it exists and runs"
        raise StoreUnavailableError(f"store={place} {reason}; {remedy} and try again") from error


def hide_password(url: str) -> str:
    """Returns a database URL without its password."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1@", url)
