"""The files of rosters, alike on a server and on a node."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from shared.errors import ConfigError, PrivacyError
from shared.keys.signing import canonical
from shared.runtime.file_store import write_atomic
from shared.secure_aggregation.roster import Roster, SignedRoster

MAX_BYTES = 1_000_000
"""Of a roster of the most shops with long names and all signatures; what is larger is none."""
Kind = TypeVar("Kind", Roster, SignedRoster)


def parse_roster(content: bytes, kind: type[Kind]) -> Kind:
    """Reads a roster from whoever sends it.

    Args:
        content: Canonical JSON.
        kind: `Roster`, or `SignedRoster` with the signatures that it has; they are not checked.

    Raises:
        PrivacyError: It is too long, no roster, not in canonical form, or too small for its `d`
            and `t`.
    """
    remedy = "ask the server's owner to run `fedprofile server roster make` again"
    if len(content) > MAX_BYTES:
        raise PrivacyError(
            f"must be at most {MAX_BYTES}", name="roster bytes", value=len(content), remedy=remedy
        )
    try:
        roster = kind.model_validate_json(content)
    except ValidationError as error:
        raise PrivacyError("cannot be read", name="roster", remedy=remedy) from error
    if canonical(roster.model_dump(mode="json")) != content:
        raise PrivacyError("is not in canonical form", name="roster", remedy=remedy)
    return roster


def read_roster(path: Path, kind: type[Kind], *, remedy: str) -> Kind | None:
    """Reads a roster's file; None where there is none.

    Args:
        path: The file.
        kind: `Roster` or `SignedRoster`; signatures are not checked.
        remedy: What to do about a damaged one.

    Raises:
        ConfigError: It cannot be read or is damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(
            f"cannot be read ({error.strerror})", name="roster", value=path, remedy=remedy
        ) from error
    try:
        return parse_roster(content, kind)
    except PrivacyError as error:
        raise ConfigError("is damaged", name="roster", value=path, remedy=remedy) from error


def write_roster(path: Path, roster: Roster | SignedRoster) -> None:
    """Writes a roster for its owner alone; of a bare one `sha256sum` prints the fingerprint.

    Raises:
        StorageError: The disk refused; what was there still is.
    """
    content = canonical(roster.model_dump(mode="json"))
    write_atomic(path, content, durable=True, private=True, name="roster")
