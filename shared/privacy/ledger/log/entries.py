"""What the lines of a ledger say: a versioned schema whose kinds keep their meaning for ever.

A line is one JSON object in canonical form (sorted keys, no spaces, UTF-8), so that a line has one
spelling and a changed byte shows. New kinds may be added under a new version; none is ever removed
or read in another way.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.keys.signing import Digest, Signature
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.accounting.roster_bounds import RosterBounds

SCHEMA_VERSION = 1
"""Version of the schema that this software writes."""
GENESIS_HASH = "0" * 64
"""`previous` of the first line."""
LineNumber = Annotated[int, Field(ge=0)]
Planning = Literal["planned", "adaptive"]


class LedgerRecord(BaseModel):
    """Base of all that a line holds: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class LifetimeLimits(LedgerRecord):
    """What a shop will never pass, whatever a server asks."""

    epsilon: Annotated[float, Field(gt=0)]
    """Lifetime epsilon of one user."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    """Lifetime delta; at most 1 / (10 max_users)."""
    window_days: Annotated[float, Field(gt=0)] | None = None
    """Length of the window of `window_epsilon`, days; None sets no limit per window."""
    window_epsilon: Annotated[float, Field(gt=0)] | None = None
    """Epsilon of all that was reserved within a window."""
    max_users: Annotated[int, Field(ge=1)] | None = None
    """Users that the shop may have at most, as its owner stated, never counted; None in ledgers
    from before it was stated."""


class RenyiFilter(LedgerRecord):
    """A Rényi filter, fixed before the first adaptive release."""

    order: Annotated[float, Field(gt=1)]
    """The one order at which the filter adds up."""
    budget: Annotated[float, Field(ge=0)]
    """Rényi divergence that adaptive releases may add up to at that order."""


class Genesis(LedgerRecord):
    """First line: whose ledger, what is protected, the limits, the key."""

    kind: Literal["genesis"] = "genesis"
    shop: str
    """The shop's public name."""
    unit: str
    """What is protected: one user's whole contribution."""
    adjacency: str
    """Neighbouring data sets."""
    limits: LifetimeLimits
    """What holds until the owner changes it by a line of its own."""
    public_key: Digest
    """Key that signs from here on."""


class Reservation(LedgerRecord):
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
    filter: RenyiFilter | None
    """The filter of adaptive releases; None before the first."""
    versions: dict[str, str]
    """Versions of the software that accounts and adds noise."""


class Round(LedgerRecord):
    """One release that is about to be made, from a reservation."""

    kind: Literal["round"] = "round"
    reservation: LineNumber
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


class Commit(LedgerRecord):
    """A release that was made."""

    kind: Literal["commit"] = "commit"
    entry: LineNumber
    """Line of the `round`."""
    digest: Digest
    """Digest of the arrays released."""


class Countersignature(LedgerRecord):
    """The server's signature under the ledger's head when it accepted a release."""

    kind: Literal["countersignature"] = "countersignature"
    entry: LineNumber
    """Line whose hash was signed."""
    head: Digest
    """Hash of that line."""
    server_key: Digest
    """Public key of the server."""
    signature: Signature
    """By the server, over shop, line and hash."""


class StatedAccount(LedgerRecord):
    """What a ledger has reserved up to a line, as its shop states it beside the line's hash."""

    public_key: Digest
    """Key of the genesis."""
    planned: tuple[Mechanism, ...]
    """All that was reserved as planned; equal mechanisms are one, with their steps added."""
    adaptive: tuple[Mechanism, ...]
    """All that was reserved as adaptive, in the same form."""
    filter: RenyiFilter | None = None
    """The filter of adaptive releases; None before the first."""
    restorations: Annotated[int, Field(ge=0)] = 0
    """1 more than in any account that a `restored` line counts; 0 where there is none."""
    restored: Digest | None = None
    """Hash that the server signed, of the last of them; None where there is none."""


class Restored(LedgerRecord):
    """Lines were lost, and a server's receipt proves what they had reserved.

    What the account of the receipt holds beyond the last line that both sides know is reserved
    again in the lines that follow, and no reservation from before pays for anything any more.
    """

    kind: Literal["restored"] = "restored"
    entry: LineNumber
    """Number of the lost line whose hash was signed."""
    head: Digest
    """Hash of that line."""
    server_key: Digest
    """Public key of the server."""
    signature: Signature
    """By the server, over shop, line and hash."""
    account: StatedAccount
    """What the lost line's ledger had reserved."""
    account_signature: Signature
    """By the server, over shop, line, hash and account."""


class Renewal(LedgerRecord):
    """The owner gives the shop a new budget; what was spent stays in the ledger and in the total.

    What is reserved from here on is held against the new limit. A user's guarantee is the sum over
    all renewals: a renewal makes no earlier release cost less.
    """

    kind: Literal["renewal"] = "renewal"
    head: Digest
    """Hash of the line before: the account that goes on."""
    epsilon: Annotated[float, Field(ge=0)]
    """Epsilon of everything that was reserved before, since the genesis."""
    epsilon_check: Annotated[float, Field(ge=0)]
    """The same by the second accountant."""
    limits_before: LifetimeLimits
    """Limits up to here."""
    limits: LifetimeLimits
    """Limits of what is reserved from here on; delta is the one before."""
    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, in the owner's words."""


class KeyRotation(LedgerRecord):
    """From the next line on another key signs."""

    kind: Literal["key-rotation"] = "key-rotation"
    public_key: Digest
    """The new key."""
    proof: Signature
    """By the new key, over shop, line number and previous hash."""


class UserBound(LedgerRecord):
    """The shop may have more users from here on; nothing is spent by it, or forgotten."""

    kind: Literal["user-bound"] = "user-bound"
    max_users: Annotated[int, Field(ge=1)]
    """Users that the shop may have at most, as its owner stated."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    """Lifetime delta from here on, at most 1 / (10 max_users)."""
    epsilon: float
    """Epsilon at that delta of all that was reserved before."""
    epsilon_check: float
    """The same by the second accountant."""


class RecordedAdapter(LedgerRecord):
    """The final adapter that a run gave."""

    kind: Literal["adapter"] = "adapter"
    run: str
    """The run."""
    file: str
    """Path within the folder of releases."""
    sha256: Digest
    """Of the file's bytes."""


class Aggregation(LedgerRecord):
    """A run whose releases are added up among shops that signed one roster."""

    kind: Literal["aggregation"] = "aggregation"
    run: str
    """The run; it has one such line."""
    plan_digest: Digest
    """As in the run's reservation."""
    roster: Digest
    """Fingerprint of the roster: of `keys`, `max_missing` and `max_colluding`."""
    keys: dict[str, Digest]
    """Ed25519 public key of each shop of the roster, by its public name."""
    max_missing: Annotated[int, Field(ge=0)]
    """Shops `d` that may be missing from a sum."""
    max_colluding: Annotated[int, Field(ge=0)]
    """Shops `t` that may help the server."""
    noise_shops: Annotated[int, Field(ge=2)]
    """Shops `n = K - d - t` among which the plan divides its noise."""
    setup: Digest
    """Of the run's terms and keys, to which all of its masks are bound."""

    @property
    def bounds(self) -> RosterBounds:
        """The roster's numbers: `K`, `d` and `t`."""
        return RosterBounds(len(self.keys), self.max_missing, self.max_colluding)

    @property
    def threshold(self) -> int:
        """Least number of shops in a sum, and of signatures that open it: `m = K - d`."""
        return self.bounds.threshold


class SurvivorSet(LedgerRecord):
    """Which shops are in a sum; written before the shop signs it, and never another."""

    kind: Literal["set"] = "set"
    run: str
    """As in the `aggregation`."""
    release: Annotated[str, Field(min_length=1, max_length=40)]
    """Which sum of the run, such as `counts` or `adapter-3`."""
    binding: Digest
    """Of set-up, dealers, release and what was asked."""
    survivors: tuple[str, ...]
    """Shops in the sum, in order of their names."""


class Opened(LedgerRecord):
    """A sum that was opened, with the signatures that allowed it."""

    kind: Literal["opened"] = "opened"
    run: str
    """As in the `set`."""
    release: Annotated[str, Field(min_length=1, max_length=40)]
    """As in the `set`."""
    signatures: dict[str, Signature]
    """By shop, under the statement of the set; each is valid, and they are enough."""


Body = Annotated[
    Genesis
    | Reservation
    | Round
    | Commit
    | Countersignature
    | Restored
    | Renewal
    | KeyRotation
    | UserBound
    | RecordedAdapter
    | Aggregation
    | SurvivorSet
    | Opened,
    Field(discriminator="kind"),
]


class Entry(LedgerRecord):
    """One line."""

    v: Literal[1] = 1
    """Version of the schema."""
    seq: LineNumber
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
