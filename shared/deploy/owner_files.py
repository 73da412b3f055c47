"""Files and folders that their owner alone may read, written whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from shared.errors import ConfigError
from shared.storage import writing

REMEDY = "free some space or choose another folder"


def make_folder(path: Path) -> Path:
    """Makes a folder (mode 700) and its parents.

    Raises:
        StorageError: The disk refused.
    """
    with writing(path, remedy=REMEDY):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.chmod(0o700)
    return path


def write_owner_file(path: Path, content: bytes) -> None:
    """Writes a file (mode 600): draft, fsync, rename.

    Raises:
        StorageError: The disk refused; what was there is untouched.
    """
    with writing(path, remedy=REMEDY):
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".draft-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(draft).replace(path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise


def read_owner_file(path: Path, *, remedy: str) -> bytes:
    """Reads a secret.

    Raises:
        ConfigError: It is missing, or others may read it.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"file={path} cannot be read ({error.strerror}); {remedy}") from error
    if mode & 0o077:
        raise ConfigError(
            f"file={path} has mode {mode:o}, which lets others read it; run chmod 600 {path}"
        )
    return content
