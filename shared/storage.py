"""What a disk refuses, as an error that a user can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import StorageError

REMEDY = "free some space or choose another --out"


@contextmanager
def writing(
    what: str | Path, *, remedy: str = "free some space or choose another --out"
) -> Iterator[None]:
    """Turns the operating system's errors inside the block into one line.

    Args:
        what: The file or folder that is written.
        remedy: What to do.

    Raises:
        StorageError: Disk full, no permission, or the like.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(f"{what} cannot be written ({error.strerror}); {remedy}") from error
