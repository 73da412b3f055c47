"""Files that are either whole or not there."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from shared.errors import RunError


def write_file(path: Path, content: bytes) -> None:
    """Writes next to the target first, so that a full disk leaves the old file or none.

    Raises:
        RunError: The file cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise RunError(
            f"{path} cannot be written ({error.strerror}); free some space or choose another --out"
        ) from error
