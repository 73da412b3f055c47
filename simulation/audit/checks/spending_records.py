"""What was recorded as spent, and whether two accountants agree with it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import PrivacyError
from shared.privacy.accounting.guarantee import (
    COUNTS_MAX_NORM,
    PAIRS_MAX_NORM,
    Mechanism,
    MechanismName,
)
from shared.privacy.ledger.log.entries import RenyiFilter
from shared.privacy.ledger.log.shop_files import find_ledgers
from shared.privacy.ledger.reporting.status import read_ledger
from shared.privacy.ledger.spending import compose_spending as compose
from shared.privacy.ledger.spending_history import first_fault, spending_history
from shared.settings.run_settings import PrivacySettings
from simulation.audit.checks.result import Finding

if TYPE_CHECKING:
    from simulation.experiments.single.schema import Report


NAMED = 5
"""Faults that the finding spells out; all are among its figures."""


@dataclass(frozen=True)
class SpendingRecord:
    """What one shop recorded, and what is known to have left it.

    Attributes:
        shop: The shop's name.
        mechanisms: What the recorded epsilon is said to cover.
        delta: Recorded total delta.
        epsilon: Recorded total epsilon.
        accountant: Recorded accountant.
        released: What left the shop by other evidence (rounds that took place, messages that were
            accepted); empty where there is none.
        adaptive: What of it may depend on results, and is not in `mechanisms`.
        filter: Rényi filter of `adaptive`; None where there is none.
        fault: The limit of its ledger that the record passed, or what it states that is not so;
            empty where there is none.
    """

    shop: str
    mechanisms: tuple[Mechanism, ...]
    delta: float
    epsilon: float
    accountant: str
    released: tuple[Mechanism, ...] = ()
    adaptive: tuple[Mechanism, ...] = ()
    filter: RenyiFilter | None = None
    fault: str = ""


def records_of_report(report: Report) -> tuple[SpendingRecord, ...]:
    """Reads the private shops of a run; what was released follows from the rounds it counts."""
    rounds = sum(1 for entry in report.training.get("private", ()) if entry.round > 0)
    training, records = report.settings.training, []
    for shop, privacy in report.privacy.items():
        if privacy.epsilon is None or privacy.delta is None:
            continue
        released = []
        grid = min((entry.grid for entry in privacy.mechanisms), default=0)
        if rounds > 0:
            noise, steps = privacy.noise_multiplier, rounds * training.local_steps
            rate, norm = training.sample_rate, training.max_grad_norm
            released.append(Mechanism("dp-sgd", noise, rate, steps, norm, grid=grid))
        paid = tuple(Mechanism(**entry.model_dump()) for entry in privacy.mechanisms)
        released += _statistics(report.settings.privacy, paid)
        records.append(
            SpendingRecord(
                shop=shop,
                mechanisms=paid,
                delta=privacy.delta,
                epsilon=privacy.epsilon,
                accountant=privacy.accountant or "unknown",
                released=tuple(released),
            )
        )
    return tuple(records)


def _statistics(settings: PrivacySettings, paid: Sequence[Mechanism]) -> Iterator[Mechanism]:
    """Yields the statistics that the settings release, with the noise that was recorded."""
    shares: tuple[tuple[MechanismName, float, float], ...] = (
        ("item-counts", settings.counts_share, COUNTS_MAX_NORM),
        ("pair-sums", settings.pairs_share, PAIRS_MAX_NORM),
    )
    for name, share, norm in shares:
        if share > 0:
            same = [m for m in paid if m.name == name]
            noise = min((m.noise_multiplier for m in same), default=0.0)
            grid = min((m.grid for m in same), default=0)
            yield Mechanism(name, noise, 1.0, 1, norm, grid=grid)


def records_of_ledgers(path: Path) -> tuple[SpendingRecord, ...]:
    """Reads a ledger, or all of a folder: one record a reservation, as each states an epsilon.

    Raises:
        PrivacyError: There is no ledger, or one cannot be read.
    """
    return tuple(record for ledger in find_ledgers(path) for record in _records(ledger))


def _records(ledger: Path) -> Iterator[SpendingRecord]:
    chain, _ = read_ledger(ledger)
    paid: dict[str, tuple[Mechanism, ...]] = {"planned": (), "adaptive": ()}
    last = max(chain.reservations, default=0)
    history = spending_history(chain)
    faults = {point.line: point.fault for point in history}
    for seq, reserved in sorted(chain.reservations.items()):
        body = reserved.body
        paid[body.planning] += body.mechanisms
        yield SpendingRecord(
            shop=f"{chain.start.shop} (ledger, line {seq})",
            mechanisms=paid["planned"],
            delta=body.delta,
            epsilon=body.epsilon,
            accountant=body.accountant,
            released=tuple(b.mechanism for b in chain.bodies.values()) if seq == last else (),
            adaptive=paid["adaptive"],
            filter=body.filter,
            # The last record stands for the whole ledger: renewals and bounds of users too.
            fault=faults[seq] or (first_fault(history) if seq == last else ""),
        )


def check_records(records: Sequence[SpendingRecord]) -> Finding:
    """Recomputes every epsilon with two accountants and compares it with the record."""
    faults: dict[str, str] = {}
    recomputed: dict[str, list[float]] = {}
    for record in records:
        try:
            recomputed[record.shop] = list(_recompute(record))
            _compare(record)
            if record.fault:
                raise PrivacyError(record.fault)
        except PrivacyError as error:
            faults[record.shop] = str(error)
    figures = {
        "recorded": {record.shop: record.epsilon for record in records},
        "recomputed": recomputed,
        "faults": faults,
    }
    if not records:
        return Finding(True, "nothing was recorded; the plan alone was tested", figures)
    if faults:
        named = [f"{shop}: {text}" for shop, text in list(faults.items())[:NAMED]]
        more = f" (and {len(faults) - NAMED} more)" if len(faults) > NAMED else ""
        return Finding(False, "; ".join(named) + more, figures)
    largest = max(record.epsilon for record in records)
    text = f"right by two accountants: {len(records)}; the largest epsilon is {largest:.4g}"
    return Finding(True, text, figures)


def _recompute(record: SpendingRecord) -> tuple[float, float]:
    spending = compose(record.mechanisms, record.adaptive, delta=record.delta, filter=record.filter)
    epsilon = spending.epsilon
    if not math.isfinite(epsilon):
        raise PrivacyError(
            "noise_multiplier=0 of a release gives no guarantee", remedy="record none"
        )
    if not abs(record.epsilon - epsilon) <= 0.005 + 0.005 * epsilon:
        raise PrivacyError(
            f"recorded epsilon={record.epsilon:.5g} ({record.accountant}) must be {epsilon:.5g} "
            "within 0.005 + 0.5%",
            remedy="correct the record",
        )
    return epsilon, spending.epsilon_check


def _compare(record: SpendingRecord) -> None:
    """Refuses a release that the record does not cover.

    Raises:
        PrivacyError: A mechanism or steps are missing, or the record claims more noise.
    """
    released = _by_name(record.released)
    paid = _by_name((*record.mechanisms, *record.adaptive))
    for name, done in released.items():
        if name not in paid:
            raise PrivacyError(
                f"{name} was released and is not in the record", remedy="account for it"
            )
        steps, covered = sum(m.steps for m in done), sum(m.steps for m in paid[name])
        if steps > covered:
            raise PrivacyError(
                f"{steps} steps of {name} took place and {covered} are recorded",
                remedy=f"account for {steps - covered} more",
            )
        least, claimed = (min(m.noise_multiplier for m in side) for side in (done, paid[name]))
        if least < claimed:
            raise PrivacyError(
                f"{name} ran with noise_multiplier={least:.5g}, recorded is {claimed:.5g}",
                remedy="account for what ran",
            )
        rate, public = (max(m.sample_rate for m in side) for side in (done, paid[name]))
        if rate > public:
            raise PrivacyError(
                f"{name} ran with sample_rate={rate:.5g}, recorded is {public:.5g}",
                remedy="account for what ran",
            )


def _by_name(mechanisms: Sequence[Mechanism]) -> Mapping[str, list[Mechanism]]:
    by_name: dict[str, list[Mechanism]] = {}
    for mechanism in mechanisms:
        by_name.setdefault(mechanism.name, []).append(mechanism)
    return by_name
