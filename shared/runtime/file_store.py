"""Files that hold a whole write or nothing: replaced at once, or locked and appended.

`flock` holds between processes of one machine; do not put a ledger on a network file system.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from shared.errors import FedprofileError, PrivacyError, StorageError

NUMPY_HEADER_LOCK = threading.RLock()
"""Held by whoever turns bytes into an array in a process with several threads."""


REMEDY = "free some space or choose another --out"
"""What helps against most refusals of a disk."""


@contextmanager
def writing(
    path: Path,
    *,
    name: str = "file",
    refusal: type[FedprofileError] = StorageError,
    remedy: str = REMEDY,
) -> Iterator[None]:
    """Turns the operating system's errors inside the block into one line.

    Args:
        path: The file or folder that is written.
        name: What it is.
        refusal: The error to raise.
        remedy: What to do.

    Raises:
        StorageError: Disk full, no permission, or the like (or `refusal`).
    """
    try:
        yield
    except OSError as error:
        raise refusal(
            f"cannot be written ({error.strerror})", name=name, value=path, remedy=remedy
        ) from error


def make_folder(path: Path) -> Path:
    """Makes a folder (mode 700) and its parents.

    Raises:
        StorageError: The disk refused.
    """
    with writing(path, name="folder"):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.chmod(0o700)
    return path


Content = bytes | Callable[[BinaryIO], object]
"""What a file shall hold, or a function that writes it."""


def write_atomic(
    path: Path,
    content: Content,
    *,
    durable: bool,
    private: bool,
    overwrite: bool = True,
    guard: AbstractContextManager[bool] = nullcontext(True),  # noqa: B008 - it holds no state
    name: str = "file",
    refusal: type[FedprofileError] = StorageError,
    remedy: str = REMEDY,
) -> bool:
    """Writes a file whole or not at all: a draft in the same folder, then one rename.

    A reader sees what was there before or all of the new content, also after a crash of this
    process. Missing folders are made.

    Args:
        path: The file.
        content: Its bytes, or a function that writes them to an open file.
        durable: Whether the content and the name are on the disk on return (`fsync` of the draft
            before its rename, as ext4 may otherwise keep an empty file through a power failure,
            and of the folder after it).
        private: Whether its owner alone may read it (mode 600, from the first byte on); otherwise
            the process's umask decides.
        overwrite: Whether a file that is there is replaced.
        guard: Held around the rename; where it yields False nothing is replaced.
        name: What the file is, for the error.
        refusal: The error to raise.
        remedy: What to do about it.

    Returns:
        Whether the file was replaced; False comes from `guard` alone.

    Raises:
        StorageError: The disk refused, or the file exists and `overwrite` is False (or
            `refusal`). What was there is untouched, and no draft is left.
    """
    with writing(path, name=name, refusal=refusal, remedy=remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = _draft_path(path)
        try:
            _write_draft(draft, content, durable=durable, private=private)
            with guard as wanted:
                if wanted and overwrite:
                    draft.replace(path)
                elif wanted:
                    os.link(draft, path)  # unlike a rename, it never replaces a file
        finally:
            draft.unlink(missing_ok=True)
        if wanted and durable:
            sync_folder(path.parent)
    return wanted


@contextmanager
def draft_of(path: Path, *, name: str = "file", remedy: str = REMEDY) -> Iterator[Path]:
    """Yields a draft for a program that writes by a path; it takes the file's place at the end.

    As `write_atomic` with `durable` and `private`, for what cannot write to an open file.

    Args:
        path: The file.
        name: What it is, for the error.
        remedy: What to do about it.

    Raises:
        StorageError: The disk refused. What was there is untouched, and no draft is left.
    """
    with writing(path, name=name, remedy=remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = _draft_path(path)
        try:
            _write_draft(draft, b"", durable=False, private=True)
            yield draft
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.chmod(0o600)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)


def write_folder_atomic(
    folder: Path,
    files: Mapping[str, bytes],
    *,
    private: bool,
    name: str = "folder",
    refusal: type[FedprofileError] = StorageError,
    remedy: str = REMEDY,
) -> None:
    """Writes a folder of files whole or not at all, on the disk on return.

    A folder that is there is replaced; it comes back where the new one cannot be put in its place.

    Args:
        folder: Its parent must exist.
        files: Content by name.
        private: Whether its owner alone may read folder and files (modes 700 and 600); otherwise
            the process's umask decides.
        name: What the folder is, for the error.
        refusal: The error to raise.
        remedy: What to do about it.

    Raises:
        StorageError: The disk refused (or `refusal`). What was there is untouched.
    """
    with writing(folder, name=name, refusal=refusal, remedy=remedy):
        draft, old = _draft_path(folder), _draft_path(folder)
        draft.mkdir(mode=0o700 if private else 0o777)
        try:
            for file, content in files.items():
                _write_draft(draft / file, content, durable=True, private=private)
            sync_folder(draft)
            if folder.exists():  # a rename replaces no folder that holds files
                folder.rename(old)
            draft.rename(folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            if old.exists() and not folder.exists():
                old.rename(folder)
            raise
        sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def remove_drafts(path: Path) -> None:
    """Removes what killed processes left of a file or folder that they were writing.

    No other process may be writing it now.
    """
    for draft in path.parent.glob(f"{DRAFT}{path.name}-*"):
        with suppress(OSError):
            shutil.rmtree(draft) if draft.is_dir() else draft.unlink()


DRAFT = ".draft-"
"""Names of files and folders that are not whole yet begin so."""


def _draft_path(path: Path) -> Path:
    """Returns a new name in the same folder: a rename is atomic within one file system alone."""
    return path.with_name(f"{DRAFT}{path.name}-{secrets.token_hex(8)}")


def _write_draft(path: Path, content: Content, *, durable: bool, private: bool) -> None:
    # O_EXCL: never through a link that somebody else put there (CWE-377).
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600 if private else 0o666), "w+b") as file:
        if isinstance(content, bytes):
            file.write(content)
        else:
            content(file)
        file.flush()
        if durable:
            os.fsync(file.fileno())


@dataclass(frozen=True)
class LockedFile:
    """A file while this process alone may change it.

    Attributes:
        path: The file.
        descriptor: Open for reading, and for writing unless it was opened to read.
        name: What the file is, for errors.
        remedy: What to do where the disk refuses a write.
    """

    path: Path
    descriptor: int
    name: str
    remedy: str

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
            f"cannot be written ({error.strerror})",
            name=self.name,
            value=self.path,
            remedy=self.remedy,
        )


@contextmanager
def locked(path: Path, *, name: str, remedy: str, create: bool = False) -> Iterator[LockedFile]:
    """Opens and locks a file for writing; waits for other processes.

    Args:
        path: The file.
        name: What the file is, for errors.
        remedy: What to do where it cannot be opened or written.
        create: Whether a missing file and its folders are made.

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
            f"cannot be opened for writing ({error.strerror})",
            name=name,
            value=path,
            remedy=remedy,
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if new:
            sync_folder(path.parent)
        yield LockedFile(path, descriptor, name, remedy)
    finally:
        os.close(descriptor)


def read_bytes(path: Path, *, name: str, remedy: str) -> bytes:
    """Reads a file between two appends of others.

    Args:
        path: The file.
        name: What the file is, for errors.
        remedy: What to do where it cannot be read.

    Raises:
        PrivacyError: The file cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise PrivacyError(
            f"cannot be read ({error.strerror})", name=name, value=path, remedy=remedy
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return LockedFile(path, descriptor, name, remedy).read(0)
    except OSError as error:
        raise PrivacyError(
            f"cannot be read ({error.strerror})", name=name, value=path, remedy=remedy
        ) from error
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Makes a new name in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
