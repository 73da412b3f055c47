"""What must outlast a process: decisions, each written once before anything follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from shared.errors import PrivacyError, StorageError
from shared.runtime.file_store import sync_folder, write_atomic, writing

_REMEDY = "free some space; nothing was sent"


class Decisions(Protocol):
    """Keeps one run's decisions of one party; what was decided never changes."""

    def read(self, name: str) -> bytes | None:
        """Returns what was decided, None where nothing was."""

    def decide(self, name: str, content: bytes) -> bytes:
        """Writes a decision unless there is one, and returns the one that stands.

        It is on the disk on return. Of two processes the first one decides for both.
        """

    def forget(self, *, keep: Iterable[str]) -> None:
        """Removes all decisions but some."""


class MemoryDecisions:
    """Decisions of a party that lives in one process, as in a simulation."""

    def __init__(self) -> None:
        self._decided: dict[str, bytes] = {}

    def read(self, name: str) -> bytes | None:
        """As `Decisions.read`."""
        return self._decided.get(name)

    def decide(self, name: str, content: bytes) -> bytes:
        """As `Decisions.decide`."""
        return self._decided.setdefault(name, content)

    def forget(self, *, keep: Iterable[str]) -> None:
        """As `Decisions.forget`."""
        kept = set(keep)
        self._decided = {n: c for n, c in self._decided.items() if n in kept}


class FolderDecisions:
    """Decisions as files of a folder for its owner alone, one folder a run and party."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> bytes | None:
        """As `Decisions.read`.

        Raises:
            StorageError: The file cannot be read.
        """
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(
                f"cannot be read ({error.strerror})",
                name="decision",
                value=self._folder / name,
                remedy="let this user read it",
            ) from error

    def decide(self, name: str, content: bytes) -> bytes:
        """As `Decisions.decide`.

        Raises:
            StorageError: The disk refused.
        """
        decided = self.read(name)
        if decided is not None:
            return decided
        try:
            write_atomic(
                self._folder / name,
                content,
                durable=True,
                private=True,
                overwrite=False,
                name="decision",
                remedy=_REMEDY,
            )
        except StorageError:
            decided = self.read(name)  # another process was faster
            if decided is None:
                raise
            return decided
        return content

    def forget(self, *, keep: Iterable[str]) -> None:
        """As `Decisions.forget`.

        Raises:
            StorageError: The disk refused.
        """
        kept = set(keep)
        with writing(self._folder, name="decisions", remedy=_REMEDY):
            for path in self._folder.iterdir():
                if path.name not in kept:
                    path.unlink()
            sync_folder(self._folder)


def decide_same(decisions: Decisions, name: str, content: bytes, *, what: str, remedy: str) -> None:
    """Writes a decision, or holds a request against the one that stands.

    Args:
        decisions: Where it is kept.
        name: Of the decision.
        content: What is asked for now.
        what: How people call it.
        remedy: What to do where something else was decided.

    Raises:
        PrivacyError: Something else was decided before.
    """
    if decisions.decide(name, content) != content:
        raise PrivacyError("must be what this shop answered before", name=what, remedy=remedy)


def require(decisions: Decisions, name: str, *, remedy: str) -> bytes:
    """Returns a decision that must have been made.

    Raises:
        PrivacyError: It was not.
    """
    content = decisions.read(name)
    if content is None:
        raise PrivacyError("not known in this run yet", name=name, remedy=remedy)
    return content
