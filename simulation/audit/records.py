"""What was recorded as spent, and whether two accountants agree with it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.config import PrivacySettings
from shared.errors import PrivacyError
from shared.privacy.guarantee import COUNTS_MAX_NORM, Mechanism, MechanismName
from shared.privacy.ledger.entries import Filter
from shared.privacy.ledger.shop_files import find_ledgers
from shared.privacy.ledger.spending import spending as compose
from shared.privacy.ledger.status import read_ledger
from shared.releases.pairs import MAX_NORM
from simulation.audit.result import Finding

if TYPE_CHECKING:
    from simulation.report.schema import Report

NAMED = 5
"""Faults that the finding spells out; all are among its figures."""


@dataclass(frozen=True)
class ShopRecord:
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
    """

    shop: str
    mechanisms: tuple[Mechanism, ...]
    delta: float
    epsilon: float
    accountant: str
    released: tuple[Mechanism, ...] = ()
    adaptive: tuple[Mechanism, ...] = ()
    filter: Filter | None = None


def records_of_report(report: Report) -> tuple[ShopRecord, ...]:
    """Reads the private shops of a run; what was released follows from the rounds it counts."""
    rounds = sum(1 for entry in report.training.get("private", ()) if entry.round > 0)
    training, records = report.settings.training, []
    for shop, privacy in report.privacy.items():
        if privacy.epsilon is None or privacy.delta is None:
            continue
        released = []
        if rounds > 0:
            noise, steps = privacy.noise_multiplier, rounds * training.local_steps
            rate, norm = training.sample_rate, training.max_grad_norm
            released.append(Mechanism("dp-sgd", noise, rate, steps, norm))
        paid = tuple(Mechanism(**entry.model_dump()) for entry in privacy.mechanisms)
        released += _statistics(report.settings.privacy, paid)
        records.append(
            ShopRecord(
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
        ("pair-sums", settings.pairs_share, MAX_NORM),
    )
    for name, share, norm in shares:
        if share > 0:
            noise = [m.noise_multiplier for m in paid if m.name == name]
            yield Mechanism(name, min(noise, default=0.0), 1.0, 1, norm)


def records_of_ledgers(path: Path) -> tuple[ShopRecord, ...]:
    """Reads a ledger, or all of a folder: one record a reservation, as each states an epsilon.

    Raises:
        PrivacyError: There is no ledger, or one cannot be read.
    """
    return tuple(record for ledger in find_ledgers(path) for record in _records(ledger))


def _records(ledger: Path) -> Iterator[ShopRecord]:
    chain, _ = read_ledger(ledger)
    paid: dict[str, tuple[Mechanism, ...]] = {"planned": (), "adaptive": ()}
    last = max(chain.reservations, default=0)
    for seq, reserved in sorted(chain.reservations.items()):
        body = reserved.body
        paid[body.planning] += body.mechanisms
        yield ShopRecord(
            shop=f"{chain.start.shop} (ledger, line {seq})",
            mechanisms=paid["planned"],
            delta=body.delta,
            epsilon=body.epsilon,
            accountant=body.accountant,
            released=tuple(b.mechanism for b in chain.bodies.values()) if seq == last else (),
            adaptive=paid["adaptive"],
            filter=body.filter,
        )


def check_records(records: Sequence[ShopRecord]) -> Finding:
    """Recomputes every epsilon with two accountants and compares it with the record."""
    faults: dict[str, str] = {}
    recomputed: dict[str, list[float]] = {}
    for record in records:
        try:
            recomputed[record.shop] = list(_recompute(record))
            _compare(record)
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


def _recompute(record: ShopRecord) -> tuple[float, float]:
    spending = compose(record.mechanisms, record.adaptive, delta=record.delta, filter=record.filter)
    epsilon = spending.epsilon
    if not math.isfinite(epsilon):
        raise PrivacyError("noise_multiplier=0 of a release gives no guarantee; record none")
    if not abs(record.epsilon - epsilon) <= 0.005 + 0.005 * epsilon:
        raise PrivacyError(
            f"recorded epsilon={record.epsilon:.5g} ({record.accountant}) must be "
            f"{epsilon:.5g} within 0.005 + 0.5%; correct the record"
        )
    return epsilon, spending.epsilon_check


def _compare(record: ShopRecord) -> None:
    """Refuses a release that the record does not cover.

    Raises:
        PrivacyError: A mechanism or steps are missing, or the record claims more noise.
    """
    released = _by_name(record.released)
    paid = _by_name((*record.mechanisms, *record.adaptive))
    for name, done in released.items():
        if name not in paid:
            raise PrivacyError(f"{name} was released and is not in the record; account for it")
        steps, covered = sum(m.steps for m in done), sum(m.steps for m in paid[name])
        if steps > covered:
            raise PrivacyError(
                f"{steps} steps of {name} took place and {covered} are recorded; account for "
                f"{steps - covered} more"
            )
        least, claimed = (min(m.noise_multiplier for m in side) for side in (done, paid[name]))
        if least < claimed:
            raise PrivacyError(
                f"{name} ran with noise_multiplier={least:.5g}, recorded is {claimed:.5g}; account "
                "for what ran"
            )
        rate, public = (max(m.sample_rate for m in side) for side in (done, paid[name]))
        if rate > public:
            raise PrivacyError(
                f"{name} ran with sample_rate={rate:.5g}, recorded is {public:.5g}; account for "
                "what ran"
            )


def _by_name(mechanisms: Sequence[Mechanism]) -> Mapping[str, list[Mechanism]]:
    found: dict[str, list[Mechanism]] = {}
    for mechanism in mechanisms:
        found.setdefault(mechanism.name, []).append(mechanism)
    return found
