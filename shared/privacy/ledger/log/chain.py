"""A ledger read line by line: each is canonical, signed and follows from those before it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from shared.errors import PrivacyError
from shared.keys.signing import is_signed_by
from shared.privacy.ledger.log.aggregation import (
    check_aggregation,
    check_opened,
    check_set,
)
from shared.privacy.ledger.log.entries import (
    Aggregation,
    Commit,
    Countersignature,
    Entry,
    Genesis,
    KeyRotation,
    Opened,
    RecordedAdapter,
    Renewal,
    Reservation,
    Restored,
    Round,
    SurvivorSet,
    UserBound,
)
from shared.privacy.ledger.log.line_format import (
    COMPARE_RECEIPTS,
    RESTORE,
    line_hash,
    parse_line,
)
from shared.privacy.ledger.log.lost_lines import (
    LostReservation,
    lost_reservations,
)
from shared.privacy.ledger.log.receipts import Receipt, receipt_bytes
from shared.privacy.ledger.log.renewals import check_renewal
from shared.privacy.ledger.log.rules import check_reservation, check_round, check_user_bound
from shared.privacy.ledger.log.state import LedgerState, ReservedBudget, noise_of, round_key


@dataclass
class Chain(LedgerState):
    """A ledger's state that takes further lines in; starts empty."""

    def feed(self, line: bytes) -> Entry:
        """Checks one line, without its line feed, and takes it in.

        Raises:
            PrivacyError: The line does not follow from those before; nothing was taken in.
        """
        number = len(self.line_hashes)
        entry, signed = parse_line(line, number)
        try:
            self._check_place(entry)
            body = entry.body
            key = body.public_key if isinstance(body, Genesis) else self.public_key
            if not is_signed_by(key, signed, entry.signature):
                raise PrivacyError("the signature is not of the shop's key", remedy=RESTORE)
            # All checks come before any change: a line refused half-way must leave no trace.
            take = self._taker(entry)
        except PrivacyError as error:
            # A line that was written broke a rule that the writer checks: no request is at fault.
            raise PrivacyError(f"line {number}: {error.message}", remedy=RESTORE) from error
        take()
        self.line_hashes.append(line_hash(line))
        self.time = entry.time
        return entry

    def _check_place(self, entry: Entry) -> None:
        if entry.seq != len(self.line_hashes):
            raise PrivacyError(
                f"must be {len(self.line_hashes)}: a line is missing or moved",
                name="seq",
                value=entry.seq,
                remedy=RESTORE,
            )
        if entry.previous != self.last_hash:
            raise PrivacyError("`previous` is not the hash of the line before", remedy=RESTORE)
        if isinstance(entry.body, Genesis) != (entry.seq == 0):
            raise PrivacyError(
                "does not belong here", name="kind", value=entry.body.kind, remedy=RESTORE
            )
        if entry.time.utcoffset() is None or (self.time is not None and entry.time < self.time):
            raise PrivacyError(
                f"must not be before {self.time}", name="time", value=entry.time, remedy=RESTORE
            )

    def _taker(self, entry: Entry) -> partial[None]:
        """Checks what the body refers to and returns the change that it makes."""
        body, seq = entry.body, entry.seq
        if isinstance(body, Genesis):
            return partial(self._begin, body)
        if isinstance(body, Reservation):
            check_reservation(self, body)
            return partial(self._reserve, ReservedBudget(seq, entry.time, body))
        if isinstance(body, Round):
            check_round(self, body)
            return partial(self._draw, seq, body)
        if isinstance(body, Commit):
            if body.entry not in self.bodies:
                raise PrivacyError(
                    "must be an earlier round",
                    name="entry",
                    value=body.entry,
                    remedy="reserve a round before its release is committed",
                )
            return partial(self._release, body)
        if isinstance(body, Countersignature):
            self._check_countersignature(body)
            return partial(self._agree, body)
        if isinstance(body, Restored):
            return partial(self._restore, body, seq, self._lost(body))
        if isinstance(body, Renewal | UserBound):
            return self._taker_of_limits(body, seq, entry.time)
        if isinstance(body, KeyRotation):
            self._check_rotation(body, entry)
            return partial(setattr, self, "public_key", body.public_key)
        return self._taker_of_records(body)

    def _taker_of_records(
        self, body: RecordedAdapter | Aggregation | SurvivorSet | Opened
    ) -> partial[None]:
        if isinstance(body, RecordedAdapter):
            return partial(self.adapters.append, body)
        if isinstance(body, Aggregation):
            check_aggregation(self, body)
            return partial(self.aggregations.__setitem__, body.run, body)
        if isinstance(body, SurvivorSet):
            check_set(self, body)
            return partial(self.sets.__setitem__, (body.run, body.release), body)
        check_opened(self, body)
        return partial(self.opened.__setitem__, (body.run, body.release), body)

    def _taker_of_limits(
        self, body: Renewal | UserBound, seq: int, time: datetime
    ) -> partial[None]:
        if isinstance(body, Renewal):
            check_renewal(body, limits=self.limits, head=self.last_hash)
            return partial(self._renew, seq, time, body)
        check_user_bound(self.limits, body)
        return partial(self.user_bounds.__setitem__, seq, body)

    def _check_rotation(self, body: KeyRotation, entry: Entry) -> None:
        message = rotation_bytes(self.start.shop, entry.seq, entry.previous)
        # Proof of possession: a rotation to a key that nobody here holds would end the ledger.
        if not is_signed_by(body.public_key, message, body.proof):
            raise PrivacyError("the new key did not sign for itself", remedy=RESTORE)

    def _renew(self, seq: int, time: datetime, body: Renewal) -> None:
        self.renewals[seq], self.renewal_times[seq] = body, time

    def _begin(self, body: Genesis) -> None:
        self.genesis, self.public_key = body, body.public_key

    def _reserve(self, reserved: ReservedBudget) -> None:
        self.reservations[reserved.seq] = reserved
        if self.owed:
            self.owed, self.closed = self.owed[1:], reserved.seq

    def _agree(self, body: Countersignature) -> None:
        self.countersigned.append(body.entry)
        self.agreed[body.server_key] = max(body.entry, self.agreed.get(body.server_key, -1))

    def _lost(self, body: Restored) -> tuple[LostReservation, ...]:
        fields = body.model_dump(exclude={"kind"})
        receipt = Receipt(shop=self.start.shop, **fields)
        if not receipt.holds():
            raise PrivacyError("the receipt is not of the server's key", remedy=COMPARE_RECEIPTS)
        if self.accounts_for(receipt):
            raise PrivacyError(
                "was not lost, or is restored already",
                name="entry",
                value=body.entry,
                remedy="restore a lost line once",
            )
        known = self.agreed.get(body.server_key, -1)
        return lost_reservations(
            body,
            planned=self.mechanisms("planned", until=known),
            adaptive=self.mechanisms("adaptive", until=known),
            drawn=[
                drawn.mechanism
                for seq, drawn in self.bodies.items()
                if seq > known >= drawn.reservation
            ],
            filter=self.filter,
        )

    def _restore(self, body: Restored, seq: int, owed: tuple[LostReservation, ...]) -> None:
        self.restored.append(body)
        self.owed, self.closed = (*self.owed, *owed), seq

    def _draw(self, seq: int, body: Round) -> None:
        drawn, noise = self.reservations[body.reservation].drawn, noise_of(body.mechanism)
        drawn[noise] = drawn.get(noise, 0) + body.mechanism.steps
        self.rounds[round_key(body)] = seq
        self.bodies[seq] = body

    def _release(self, body: Commit) -> None:
        self.commits.setdefault(body.entry, []).append(body.digest)

    def _check_countersignature(self, body: Countersignature) -> None:
        if body.entry >= len(self.line_hashes) or self.line_hashes[body.entry] != body.head:
            raise PrivacyError(
                f"the server signed another line {body.entry}", remedy=COMPARE_RECEIPTS
            )
        message = receipt_bytes(self.start.shop, body.entry, body.head)
        if not is_signed_by(body.server_key, message, body.signature):
            raise PrivacyError(
                "the countersignature is not of the server's key", remedy=COMPARE_RECEIPTS
            )


def replay(content: bytes) -> tuple[Chain, bytes]:
    """Checks a whole file.

    Returns:
        The chain, and the torn bytes after the last line feed.

    Raises:
        PrivacyError: The first line that does not follow.
    """
    chain = Chain()
    *lines, torn = content.split(b"\n")
    for line in lines:
        chain.feed(line)
    return chain, torn


def rotation_bytes(shop: str, seq: int, previous: str) -> bytes:
    """Returns what a new key signs to show that its owner holds it."""
    return f"fedprofile key rotation\n{seq}\n{previous}\n{shop}".encode()
