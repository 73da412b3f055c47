"""One line of a ledger: canonical JSON of a known version, and what its signature covers."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import ValidationError

from shared.errors import PrivacyError
from shared.keys.signing import canonical
from shared.privacy.ledger.log.entries import SCHEMA_VERSION, Entry


def line_hash(line: bytes) -> str:
    """Returns the SHA-256 of a line without its line feed."""
    return hashlib.sha256(line).hexdigest()


def signed_bytes(fields: dict[str, Any]) -> bytes:
    """Returns what the shop's key signs: the line without the signature."""
    # The prefix separates domains: a receipt or rotation that a key signed is never an entry too.
    unsigned = {name: value for name, value in fields.items() if name != "signature"}
    return b"fedprofile ledger entry\n" + canonical(unsigned)


def parse_line(line: bytes, number: int) -> tuple[Entry, bytes]:
    """Reads one line, without its line feed.

    Args:
        line: Bytes of the line.
        number: Its number, from 0.

    Returns:
        The entry and the bytes that its signature must cover.

    Raises:
        PrivacyError: The line is not canonical, or its version or kind is unknown.
    """
    # JSON has many spellings of one value (spaces, key order, a key twice): were more than one
    # accepted, two readers could take different entries from the same signed line.
    try:
        raw = json.loads(line)
        spelling = canonical(raw)
    except (ValueError, RecursionError) as error:
        raise PrivacyError(f"line {number} is not JSON", remedy=RESTORE) from error
    if spelling != line or not isinstance(raw, dict):
        raise PrivacyError(f"line {number} is not in canonical form: it was edited", remedy=RESTORE)
    # Before the fields: a later version may add some, and the remedy is then another one.
    if raw.get("v") != SCHEMA_VERSION:
        raise PrivacyError(
            f"line {number}: schema version v={raw.get('v')!r} is not known, {SCHEMA_VERSION} is",
            remedy="read it with the version of fedprofile that wrote it, or a later one",
        )
    try:
        entry = Entry.model_validate_json(line)
    except ValidationError as error:
        raise _first_fault(raw, error, number) from error
    return entry, signed_bytes(raw)


RESTORE = "keep the file as evidence and restore a copy that verifies"
"""Remedy for a damaged ledger."""
COMPARE_RECEIPTS = "keep ledger and receipt as evidence and ask the server's owner for its receipts"
"""Remedy where a server's signature and the ledger do not go together: one of them was changed."""


def _first_fault(raw: dict[str, Any], error: ValidationError, number: int) -> PrivacyError:
    fault = error.errors()[0]
    body = raw.get("body")
    if fault["type"] == "union_tag_invalid" and isinstance(body, dict):
        return PrivacyError(
            f"line {number}: kind={body.get('kind')!r} is not known",
            remedy="read it with a later version of fedprofile",
        )
    name = ".".join(str(part) for part in fault["loc"])
    return PrivacyError(
        f"line {number}: {name}: {fault['msg'][:1].lower()}{fault['msg'][1:]}", remedy=RESTORE
    )
