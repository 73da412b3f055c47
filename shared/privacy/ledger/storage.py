"""The ledger's bytes: one locked file, whole lines or none, on the disk before anyone acts on them.

`flock` holds between processes of one machine; do not put a ledger on a network file system.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.errors import PrivacyError


@dataclass(frozen=True)
class LockedFile:
    """A ledger's file while this process alone may change it.

    Attributes:
        path: The file.
        descriptor: Open for reading, and for writing unless it was opened to read.
    """

    path: Path
    descriptor: int

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self.descriptor).st_size

    def read(self, start: int, end: int | None = None) -> bytes:
        """Reads from `start` up to `end`, or to the end of the file."""
        chunks, position, stop = [], start, self.size if end is None else end
        while position < stop and (
            chunk := os.pread(self.descriptor, min(stop - position, 1 << 24), position)
        ):
            chunks.append(chunk)
            position += len(chunk)
        return b"".join(chunks)

    def append(self, lines: bytes) -> None:
        """Adds whole lines at the end and returns when they are on the disk.

        Raises:
            PrivacyError: The disk refused; what part of them was written is taken back.
        """
        before = self.size
        try:
            position = before
            while position < before + len(lines):
                position += os.pwrite(self.descriptor, lines[position - before :], position)
            os.fsync(self.descriptor)
        except OSError as error:
            if position < before + len(lines):  # no whole line to believe in: not acknowledged
                os.ftruncate(self.descriptor, before)
            raise self.refused(error) from error

    def set_aside(self, start: int) -> Path:
        """Moves the bytes from `start` on to `<file>.torn`, which grows, and returns its path.

        Raises:
            PrivacyError: The disk refused; nothing was cut.
        """
        torn = self.path.with_name(self.path.name + ".torn")
        try:
            with torn.open("ab") as file:
                file.write(self.read(start) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.ftruncate(self.descriptor, start)
            os.fsync(self.descriptor)
        except OSError as error:
            raise self.refused(error) from error
        return torn

    def refused(self, error: OSError) -> PrivacyError:
        """Puts the operating system's refusal into one line."""
        return PrivacyError(
            f"ledger={self.path} cannot be written ({error.strerror}); nothing is released: free "
            "space or make the disk writable, then ask again"
        )


@contextmanager
def locked(path: Path, *, create: bool = False) -> Iterator[LockedFile]:
    """Opens and locks a ledger's file for writing; waits for other processes.

    Raises:
        PrivacyError: The file is missing or the disk is read-only.
    """
    flags = os.O_RDWR | (os.O_CREAT if create else 0)
    try:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        new = create and not path.exists()
        descriptor = os.open(path, flags, 0o644)
    except OSError as error:
        raise PrivacyError(
            f"ledger={path} cannot be opened for writing ({error.strerror}); nothing is released: "
            "check the path and that the disk is writable"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if new:
            sync_folder(path.parent)
        yield LockedFile(path, descriptor)
    finally:
        os.close(descriptor)


def read_bytes(path: Path) -> bytes:
    """Reads a ledger between two appends of others.

    Raises:
        PrivacyError: The file cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise PrivacyError(
            f"ledger={path} cannot be read ({error.strerror}); check the path"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return LockedFile(path, descriptor).read(0)
    except OSError as error:
        raise PrivacyError(
            f"ledger={path} cannot be read ({error.strerror}); name a ledger file"
        ) from error
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Writes a small file whole or not at all.

    Raises:
        PrivacyError: The disk refused.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        raise PrivacyError(
            f"file={path} cannot be written ({error.strerror}); free space or make the disk "
            "writable, then ask again"
        ) from error


def sync_folder(folder: Path) -> None:
    """Makes a new name in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
