"""What a ledger says up to some line, without how it is read or what may come next."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from shared.errors import PrivacyError
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger.log.entries import (
    GENESIS_HASH,
    Aggregation,
    Genesis,
    LifetimeLimits,
    Opened,
    Planning,
    RecordedAdapter,
    Renewal,
    RenyiFilter,
    Reservation,
    Restored,
    Round,
    StatedAccount,
    SurvivorSet,
    UserBound,
)
from shared.privacy.ledger.log.line_format import (
    RESTORE,
)
from shared.privacy.ledger.log.lost_lines import (
    LostReservation,
    covers,
    merge_steps,
)
from shared.privacy.ledger.log.receipts import Receipt
from shared.privacy.ledger.log.renewals import renewed_limits

RoundKey = tuple[str, int, str, str]
"""Run, round, mechanism's name and plan digest: what may be spent once."""

SumKey = tuple[str, str]
"""Run and release: a sum, whose set is decided once."""

NoiseKey = tuple[str, float, float, float, int, int]
"""A mechanism without its steps: name, noise multiplier, sample rate, norm, shops, grid."""


@dataclass
class ReservedBudget:
    """A reservation and what was drawn from it.

    Attributes:
        seq: Its line.
        time: When.
        body: The line's body.
        drawn: Steps drawn so far, by mechanism without its steps.
    """

    seq: int
    time: datetime
    body: Reservation
    drawn: dict[NoiseKey, int] = field(default_factory=dict)


@dataclass
class LedgerState:
    """What a ledger says up to some line; starts empty.

    Attributes:
        line_hashes: Hash of each line.
        genesis: First line's body.
        public_key: Key that signs the next line.
        time: Time of the last line.
        reservations: By line.
        rounds: Line of each round by what may be spent once.
        bodies: Round of each of those lines.
        commits: Digests released, by line of the round.
        adapters: Final adapters, in order.
        countersigned: Lines whose hash the server signed.
        agreed: Last line that each server signed, by its key.
        restored: Receipts of lost lines, in order.
        closed: Line up to which no reservation pays any more: rounds that were drawn from it may
            be among the lost lines; -1 before the first `restored`.
        owed: What was lost and has to be reserved again before anything is released.
        user_bounds: Raised bounds of the shop's users, by line.
        renewals: Renewals of the budget, by line.
        renewal_times: When each was written, by line.
        aggregations: Roster and set-up of each run whose releases are added up, by run.
        sets: Which shops are in each sum.
        opened: Signatures under which each sum was opened.
    """

    line_hashes: list[str] = field(default_factory=list)
    genesis: Genesis | None = None
    public_key: str = ""
    time: datetime | None = None
    reservations: dict[int, ReservedBudget] = field(default_factory=dict)
    rounds: dict[RoundKey, int] = field(default_factory=dict)
    bodies: dict[int, Round] = field(default_factory=dict)
    commits: dict[int, list[str]] = field(default_factory=dict)
    adapters: list[RecordedAdapter] = field(default_factory=list)
    countersigned: list[int] = field(default_factory=list)
    agreed: dict[str, int] = field(default_factory=dict)
    restored: list[Restored] = field(default_factory=list)
    closed: int = -1
    owed: tuple[LostReservation, ...] = ()
    user_bounds: dict[int, UserBound] = field(default_factory=dict)
    renewals: dict[int, Renewal] = field(default_factory=dict)
    renewal_times: dict[int, datetime] = field(default_factory=dict)
    aggregations: dict[str, Aggregation] = field(default_factory=dict)
    sets: dict[SumKey, SurvivorSet] = field(default_factory=dict)
    opened: dict[SumKey, Opened] = field(default_factory=dict)

    @property
    def start(self) -> Genesis:
        """The genesis.

        Raises:
            PrivacyError: The ledger is empty.
        """
        if self.genesis is None:
            raise PrivacyError("the ledger is empty: it has no genesis", remedy=RESTORE)
        return self.genesis

    @property
    def limits(self) -> LifetimeLimits:
        """The limits in force, for what was reserved since `renewed`: those stated, and renewed.

        Raises:
            PrivacyError: The ledger is empty.
        """
        limits = self.stated_limits
        return renewed_limits(limits, self.renewals.values()) if self.renewals else limits

    @property
    def stated_limits(self) -> LifetimeLimits:
        """The limits without renewals: the genesis', with the bound of users that was stated last.

        Raises:
            PrivacyError: The ledger is empty.
        """
        limits = self.start.limits
        if not self.user_bounds:
            return limits
        last = self.user_bounds[max(self.user_bounds)]
        return limits.model_copy(update={"max_users": last.max_users, "delta": last.delta})

    @property
    def renewed(self) -> int:
        """Line of the last renewal; -1 without one."""
        return max(self.renewals, default=-1)

    @property
    def next_planning(self) -> Planning:
        """How a run that begins now is accounted for: it may depend on what was released before."""
        released = self.commits or self.restored or self.filter is not None
        return "adaptive" if released else "planned"

    @property
    def last_hash(self) -> str:
        """Hash of the last line."""
        return self.line_hashes[-1] if self.line_hashes else GENESIS_HASH

    def mechanisms(
        self,
        planning: str,
        *,
        since: datetime | None = None,
        after: int = -1,
        until: int | None = None,
    ) -> tuple[Mechanism, ...]:
        """Returns what was reserved as `planned` or `adaptive`.

        Args:
            planning: Which of the two.
            since: Since some time.
            after: In the lines after this one.
            until: Up to some line.
        """
        return tuple(
            mechanism
            for reserved in self.reservations.values()
            if reserved.body.planning == planning
            and (since is None or reserved.time >= since)
            and reserved.seq > after
            and (until is None or reserved.seq <= until)
            for mechanism in reserved.body.mechanisms
        )

    def account(self) -> StatedAccount:
        """States what was reserved up to the last line, for a server to sign."""
        return StatedAccount(
            public_key=self.start.public_key,
            planned=merge_steps(self.mechanisms("planned")),
            adaptive=merge_steps(self.mechanisms("adaptive")),
            filter=self.filter,
            restorations=1 + max((r.account.restorations for r in self.restored), default=-1),
            restored=self.restored[-1].head if self.restored else None,
        )

    def holds(self, receipt: Receipt) -> bool:
        """Says whether the line that a server signed is in this ledger."""
        hashes = self.line_hashes
        return receipt.entry < len(hashes) and hashes[receipt.entry] == receipt.head

    def accounts_for(self, receipt: Receipt) -> bool:
        """Says whether the ledger holds what a server signed, or counts it as restored."""
        return self.holds(receipt) or any(covers(body, receipt) for body in self.restored)

    @property
    def filter(self) -> RenyiFilter | None:
        """The filter of adaptive releases; None before the first."""
        filters = (r.body.filter for r in self.reservations.values())
        return next((f for f in filters if f is not None), None)


def round_key(body: Round) -> RoundKey:
    """Returns what may be spent once."""
    return (body.run, body.round, body.mechanism.name, body.plan_digest)


def noise_of(mechanism: Mechanism) -> NoiseKey:
    """Returns a mechanism without its steps."""
    m = mechanism
    return (m.name, m.noise_multiplier, m.sample_rate, m.max_norm, m.shared_by, m.grid)
