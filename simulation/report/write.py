"""Files that are either whole or not there."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from shared.storage import writing


def write_file(path: Path, content: bytes) -> None:
    """Writes next to the target first, so that a full disk leaves the old file or none.

    Raises:
        StorageError: The file cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(content)
            part.replace(path)
        except OSError:
            with suppress(OSError):
                part.unlink()
            raise
