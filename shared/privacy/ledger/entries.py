"""What the lines of a ledger say: a versioned schema whose kinds keep their meaning for ever.

A line is one JSON object in canonical form (sorted keys, no spaces, UTF-8), so that a line has one
spelling and a changed byte shows. New kinds may be added under a new version; none is ever removed
or read in another way.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import PrivacyError
from shared.privacy.guarantee import Mechanism

VERSION = 1
"""Version of the schema that this software writes."""
GENESIS_HASH = "0" * 64
"""`previous` of the first line."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 or an Ed25519 public key, in hexadecimal."""
Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
"""An Ed25519 signature, in hexadecimal."""
Sequence = Annotated[int, Field(ge=0)]
Planning = Literal["planned", "adaptive"]


class Record(BaseModel):
    """Base of all that a line holds: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Limits(Record):
    """What a shop will never pass, whatever a server asks."""

    epsilon: Annotated[float, Field(gt=0)]
    """Lifetime epsilon of one user."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    """Lifetime delta; below 1 / number of users."""
    window_days: Annotated[float, Field(gt=0)] | None = None
    """Length of the window of `window_epsilon`, days; None sets no limit per window."""
    window_epsilon: Annotated[float, Field(gt=0)] | None = None
    """Epsilon of all that was reserved within a window."""


class Filter(Record):
    """A Rényi filter, fixed before the first adaptive release."""

    order: Annotated[float, Field(gt=1)]
    """The one order at which the filter adds up."""
    budget: Annotated[float, Field(ge=0)]
    """Rényi divergence that adaptive releases may add up to at that order."""


class Genesis(Record):
    """First line: whose ledger, what is protected, the limits, the key."""

    kind: Literal["genesis"] = "genesis"
    shop: str
    """The shop's public name."""
    unit: str
    """What is protected: one user's whole contribution."""
    adjacency: str
    """Neighbouring data sets."""
    limits: Limits
    """Fixed for the life of the ledger."""
    public_key: Digest
    """Key that signs from here on."""


class Reservation(Record):
    """Budget that is spent from the moment this line is on disk."""

    kind: Literal["reservation"] = "reservation"
    run: str
    """Run that it is for."""
    planning: Planning
    """`planned`: parameters fixed before any result; `adaptive`: they may depend on results."""
    mechanisms: tuple[Mechanism, ...]
    """All that may be released: a whole plan, or one round of an adaptive run."""
    plan_digest: Digest
    """SHA-256 of the run's public configuration."""
    base_hash: str
    """SHA-256 of the base model."""
    repeatable: bool
    """Whether the noise comes from a seed (a simulation): a repeated round is the same release."""
    unit: str
    """As in the genesis."""
    adjacency: str
    """As in the genesis."""
    delta: float
    """Lifetime delta, at which epsilon is stated."""
    epsilon: float
    """Lifetime epsilon after this reservation, by `accountant`."""
    epsilon_check: float
    """The same by `accountant_check`."""
    accountant: str
    """Library and method behind `epsilon`."""
    accountant_check: str
    """Library and method behind `epsilon_check`."""
    filter: Filter | None
    """The filter of adaptive releases; None before the first."""
    versions: dict[str, str]
    """Versions of the software that accounts and adds noise."""


class Round(Record):
    """One release that is about to be made, from a reservation."""

    kind: Literal["round"] = "round"
    reservation: Sequence
    """Line that pays."""
    run: str
    """As in the reservation."""
    round: Annotated[int, Field(ge=0)]
    """Round of the run; 0 comes before the first."""
    mechanism: Mechanism
    """What this release is."""
    plan_digest: Digest
    """As in the reservation."""
    inputs: Digest
    """Digest of what was asked: the adapter and the candidates received."""


class Commit(Record):
    """A release that was made."""

    kind: Literal["commit"] = "commit"
    entry: Sequence
    """Line of the `round`."""
    digest: Digest
    """Digest of the arrays released."""


class Countersignature(Record):
    """The server's signature under the ledger's head when it accepted a release."""

    kind: Literal["countersignature"] = "countersignature"
    entry: Sequence
    """Line whose hash was signed."""
    head: Digest
    """Hash of that line."""
    server_key: Digest
    """Public key of the server."""
    signature: Signature
    """By the server, over shop, line and hash."""


class KeyRotation(Record):
    """From the next line on another key signs."""

    kind: Literal["key-rotation"] = "key-rotation"
    public_key: Digest
    """The new key."""
    proof: Signature
    """By the new key, over shop, line number and previous hash."""


class Adapter(Record):
    """The final adapter that a run gave."""

    kind: Literal["adapter"] = "adapter"
    run: str
    """The run."""
    file: str
    """Path within the folder of releases."""
    sha256: Digest
    """Of the file's bytes."""


Body = Annotated[
    Genesis | Reservation | Round | Commit | Countersignature | KeyRotation | Adapter,
    Field(discriminator="kind"),
]


class Entry(Record):
    """One line."""

    v: Literal[1] = 1
    """Version of the schema."""
    seq: Sequence
    """Number of the line, from 0."""
    previous: Digest
    """SHA-256 of the line before."""
    time: datetime
    """UTC; never earlier than in the line before."""
    clock: datetime | None
    """What the clock said, where it had gone back; else null."""
    body: Body
    """What happened."""
    signature: Signature
    """By the shop's key, over all of the above."""


def canonical(value: object) -> bytes:
    """Returns the one spelling of a JSON value."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def line_hash(line: bytes) -> str:
    """Returns the SHA-256 of a line without its line feed."""
    return hashlib.sha256(line).hexdigest()


def signed_bytes(fields: dict[str, Any]) -> bytes:
    """Returns what the shop's key signs: the line without the signature."""
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
    try:
        raw = json.loads(line)
        spelling = canonical(raw)
    except (ValueError, RecursionError) as error:
        raise PrivacyError(f"line {number} is not JSON; {RESTORE}") from error
    if spelling != line or not isinstance(raw, dict):
        raise PrivacyError(f"line {number} is not in canonical form: it was edited; {RESTORE}")
    if raw.get("v") != VERSION:
        raise PrivacyError(
            f"line {number}: schema version v={raw.get('v')!r} is not known, {VERSION} is; read it "
            "with the version of fedprofile that wrote it, or a later one"
        )
    try:
        entry = Entry.model_validate_json(line)
    except ValidationError as error:
        raise PrivacyError(f"line {number}: {_first_fault(raw, error)}") from error
    return entry, signed_bytes(raw)


RESTORE = "keep the file as evidence and restore a copy that verifies"
"""Remedy for a damaged ledger."""


def _first_fault(raw: dict[str, Any], error: ValidationError) -> str:
    fault = error.errors()[0]
    body = raw.get("body")
    if fault["type"] == "union_tag_invalid" and isinstance(body, dict):
        return f"kind={body.get('kind')!r} is not known; read it with a later version of fedprofile"
    name = ".".join(str(part) for part in fault["loc"])
    return f"{name}: {fault['msg'][:1].lower()}{fault['msg'][1:]}; {RESTORE}"
