"""A ledger replayed line by line: every line must follow from those before it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from shared.errors import PrivacyError
from shared.privacy.guarantee import Mechanism
from shared.privacy.ledger.entries import (
    GENESIS_HASH,
    RESTORE,
    Adapter,
    Commit,
    Countersignature,
    Entry,
    Filter,
    Genesis,
    KeyRotation,
    Reservation,
    Round,
    line_hash,
    parse_line,
)
from shared.privacy.ledger.keys import verifies
from shared.privacy.ledger.receipts import receipt_bytes

RoundKey = tuple[str, int, str, str]
"""Run, round, mechanism's name and plan digest: what may be spent once."""

Noise = tuple[str, float, float, float, int]
"""A mechanism without its steps: name, noise multiplier, sample rate, norm, shops that share it."""


@dataclass
class Reserved:
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
    drawn: dict[Noise, int] = field(default_factory=dict)


@dataclass
class Chain:
    """What a ledger says up to some line; starts empty.

    Attributes:
        heads: Hash of each line.
        genesis: First line's body.
        public_key: Key that signs the next line.
        time: Time of the last line.
        reservations: By line.
        rounds: Line of each round by what may be spent once.
        bodies: Round of each of those lines.
        commits: Digests released, by line of the round.
        adapters: Final adapters, in order.
        countersigned: Lines whose hash the server signed.
    """

    heads: list[str] = field(default_factory=list)
    genesis: Genesis | None = None
    public_key: str = ""
    time: datetime | None = None
    reservations: dict[int, Reserved] = field(default_factory=dict)
    rounds: dict[RoundKey, int] = field(default_factory=dict)
    bodies: dict[int, Round] = field(default_factory=dict)
    commits: dict[int, list[str]] = field(default_factory=dict)
    adapters: list[Adapter] = field(default_factory=list)
    countersigned: list[int] = field(default_factory=list)

    @property
    def start(self) -> Genesis:
        """The genesis.

        Raises:
            PrivacyError: The ledger is empty.
        """
        if self.genesis is None:
            raise PrivacyError("the ledger is empty: it has no genesis; " + RESTORE)
        return self.genesis

    @property
    def head(self) -> str:
        """Hash of the last line."""
        return self.heads[-1] if self.heads else GENESIS_HASH

    def mechanisms(self, planning: str, *, since: datetime | None = None) -> tuple[Mechanism, ...]:
        """Returns what was reserved as `planned` or as `adaptive`, since some time."""
        return tuple(
            mechanism
            for reserved in self.reservations.values()
            if reserved.body.planning == planning and (since is None or reserved.time >= since)
            for mechanism in reserved.body.mechanisms
        )

    @property
    def filter(self) -> Filter | None:
        """The filter of adaptive releases; None before the first."""
        filters = (r.body.filter for r in self.reservations.values())
        return next((f for f in filters if f is not None), None)

    def feed(self, line: bytes) -> Entry:
        """Checks one line, without its line feed, and takes it in.

        Raises:
            PrivacyError: The line does not follow from those before; nothing was taken in.
        """
        number = len(self.heads)
        entry, signed = parse_line(line, number)
        try:
            self._check_place(entry)
            body = entry.body
            key = body.public_key if isinstance(body, Genesis) else self.public_key
            if not verifies(key, signed, entry.signature):
                raise PrivacyError("the signature is not of the shop's key")
            take = self._taker(entry)
        except PrivacyError as error:
            raise PrivacyError(f"line {number}: {error}; {RESTORE}") from error
        take()
        self.heads.append(line_hash(line))
        self.time = entry.time
        return entry

    def _check_place(self, entry: Entry) -> None:
        if entry.seq != len(self.heads):
            raise PrivacyError(
                f"seq={entry.seq} must be {len(self.heads)}: a line is missing or moved"
            )
        if entry.previous != self.head:
            raise PrivacyError("`previous` is not the hash of the line before")
        if isinstance(entry.body, Genesis) != (entry.seq == 0):
            raise PrivacyError(f"kind={entry.body.kind} does not belong here")
        if entry.time.utcoffset() is None or (self.time is not None and entry.time < self.time):
            raise PrivacyError(f"time={entry.time} must not be before {self.time}")

    def _taker(self, entry: Entry) -> partial[None]:
        """Checks what the body refers to and returns the change that it makes."""
        body, seq = entry.body, entry.seq
        if isinstance(body, Genesis):
            return partial(self._begin, body)
        if isinstance(body, Reservation):
            check_reservation(self, body)
            return partial(self.reservations.__setitem__, seq, Reserved(seq, entry.time, body))
        if isinstance(body, Round):
            check_round(self, body)
            return partial(self._draw, seq, body)
        if isinstance(body, Commit):
            if body.entry not in self.bodies:
                raise PrivacyError(f"entry={body.entry} must be an earlier round")
            return partial(self._release, body)
        if isinstance(body, Countersignature):
            self._check_countersignature(body)
            return partial(self.countersigned.append, body.entry)
        if isinstance(body, KeyRotation):
            message = rotation_bytes(self.start.shop, seq, entry.previous)
            if not verifies(body.public_key, message, body.proof):
                raise PrivacyError("the new key did not sign for itself")
            return partial(setattr, self, "public_key", body.public_key)
        return partial(self.adapters.append, body)

    def _begin(self, body: Genesis) -> None:
        self.genesis, self.public_key = body, body.public_key

    def _draw(self, seq: int, body: Round) -> None:
        drawn, noise = self.reservations[body.reservation].drawn, noise_of(body.mechanism)
        drawn[noise] = drawn.get(noise, 0) + body.mechanism.steps
        self.rounds[round_key(body)] = seq
        self.bodies[seq] = body

    def _release(self, body: Commit) -> None:
        self.commits.setdefault(body.entry, []).append(body.digest)

    def _check_countersignature(self, body: Countersignature) -> None:
        if body.entry >= len(self.heads) or self.heads[body.entry] != body.head:
            raise PrivacyError(f"the server signed another line {body.entry}")
        message = receipt_bytes(self.start.shop, body.entry, body.head)
        if not verifies(body.server_key, message, body.signature):
            raise PrivacyError("the countersignature is not of the server's key")


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


def round_key(body: Round) -> RoundKey:
    """Returns what may be spent once."""
    return (body.run, body.round, body.mechanism.name, body.plan_digest)


def rotation_bytes(shop: str, seq: int, previous: str) -> bytes:
    """Returns what a new key signs to show that its owner holds it."""
    return f"fedprofile key rotation\n{seq}\n{previous}\n{shop}".encode()


def check_reservation(chain: Chain, body: Reservation) -> None:
    """Refuses a reservation that breaks the rules of accounting.

    Raises:
        PrivacyError: A planned run after an adaptive one, or a second filter.
    """
    fixed = chain.filter
    if fixed is not None and (body.planning == "planned" or body.filter != fixed):
        raise PrivacyError(
            f"planning={body.planning} comes after adaptive releases, whose filter is fixed; "
            "reserve the run as adaptive"
        )
    if (body.planning == "adaptive") != (body.filter is not None):
        raise PrivacyError(f"planning={body.planning} does not go with filter={body.filter}")


def check_round(chain: Chain, body: Round) -> None:
    """Refuses a round that was spent already or that its reservation does not pay for.

    Raises:
        PrivacyError: With what was reserved and what was asked.
    """
    reserved = chain.reservations.get(body.reservation)
    if reserved is None:
        raise PrivacyError(f"reservation={body.reservation} must be an earlier reservation")
    if (reserved.body.run, reserved.body.plan_digest) != (body.run, body.plan_digest):
        raise PrivacyError(f"reservation={body.reservation} is of another run or plan")
    if round_key(body) in chain.rounds:
        raise PrivacyError(f"round={body.round} of run={body.run} is spent already")
    asked = body.mechanism
    drawn = reserved.drawn.get(noise_of(asked), 0)
    paid = sum(m.steps for m in reserved.body.mechanisms if noise_of(m) == noise_of(asked))
    if drawn + asked.steps > paid:
        raise PrivacyError(
            f"round={body.round}: {asked.name} with noise_multiplier={asked.noise_multiplier}, "
            f"sample_rate={asked.sample_rate}, max_norm={asked.max_norm}, "
            f"shared_by={asked.shared_by} takes {asked.steps} steps after {drawn}, but {paid} are "
            "reserved; ask for what the plan says"
        )


def noise_of(mechanism: Mechanism) -> Noise:
    """Returns a mechanism without its steps."""
    m = mechanism
    return (m.name, m.noise_multiplier, m.sample_rate, m.max_norm, m.shared_by)
