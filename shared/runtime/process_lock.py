"""One process at a time works on a folder: a lock that ends with the process that holds it."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import IO

from shared.errors import RunError
from shared.runtime.file_store import writing

_TRIES, _PAUSE = 10, 0.02
"""Who looks whether a lock is held holds it for a moment."""


def take_lock(path: Path, *, what: str, remedy: str) -> IO[bytes]:
    """Takes a lock; its file has the number of the process that holds it.

    Args:
        path: File of the lock, made where it is missing.
        what: What another process does, for the refusal: "node".
        remedy: What to do about that process.

    Returns:
        The open file: the lock is held until it is closed, or until this process ends.

    Raises:
        RunError: Another process holds it.
        StorageError: The file cannot be made.
    """
    with writing(path, name="lock", remedy="let this user write there"):
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)
    if not _taken(file):
        file.close()
        raise RunError("runs already", name=what, value=path.parent, remedy=remedy)
    file.truncate(0)
    file.write(b"%d\n" % os.getpid())
    return file


def _taken(file: IO[bytes]) -> bool:
    for _ in range(_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(_PAUSE)
        else:
            return True
    return False


def lock_holder(path: Path) -> int | None:
    """Returns the number of the process that holds a lock, 0 where it does not say, else None."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return int(file.read() or b"0")
    return None
