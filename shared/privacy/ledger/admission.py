"""Which requests a ledger admits, and what lines they add: pure functions of the chain."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from importlib import metadata

from shared.errors import PrivacyError
from shared.privacy.accounting.accountants import check_mechanism
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger.log.chain import Chain
from shared.privacy.ledger.log.entries import Body, Planning, Reservation, Round
from shared.privacy.ledger.log.rules import check_round
from shared.privacy.ledger.log.state import ReservedBudget, RoundKey
from shared.privacy.ledger.rounds_left import would_fit
from shared.privacy.ledger.spending import (
    Spending,
    budget_after,
    compose_spending,
    spending_after,
    spending_in_window,
)

PACKAGES = ("fedprofile", "dp-accounting", "opacus", "torch", "cryptography")


@dataclass(frozen=True)
class ReleaseRequest:
    """One release that a shop is asked for.

    Attributes:
        run: Name of the run; two runs with one name and plan share what was reserved.
        round: Round of the run; 0 comes before the first.
        mechanism: What this release is, with the steps of this round.
        plan: All that the run will release, as fixed in advance; this release included.
        plan_digest: SHA-256 of the run's public configuration.
        base_hash: SHA-256 of the base model.
        inputs: Digest of what the release is computed from besides the shop's data.
        repeatable: Whether the noise comes from a seed, so that asking again with the same inputs
            gives the same release.
        kept_first: Whether a release is kept, then committed, then sent: a round without a commit
            was seen by nobody and may be drawn again.
        planning: None lets the ledger decide: a run is planned if nothing was released before it
            began, and adaptive otherwise.
    """

    run: str
    round: int
    mechanism: Mechanism
    plan: tuple[Mechanism, ...]
    plan_digest: str
    base_hash: str
    inputs: str
    repeatable: bool = False
    kept_first: bool = False
    planning: Planning | None = None

    @property
    def key(self) -> RoundKey:
        """What may be spent once."""
        return (self.run, self.round, self.mechanism.name, self.plan_digest)


def admit(chain: Chain, request: ReleaseRequest, *, now: datetime) -> tuple[Body, ...]:
    """Returns the lines that a request adds: none if it repeats a release of a simulation.

    Raises:
        PrivacyError: The request is spent already, does not fit its plan or passes a limit.
    """
    if _repeats(chain, request):
        return ()
    planning = planning_of(chain, request)
    reserved = _reservation_of(chain, request) if planning == "planned" else None
    if reserved is not None:
        _check_plan(reserved.body, request)
        body = _round_line(request, reserved.seq)
        check_round(chain, body)
        return (body,)
    mechanisms = request.plan if planning == "planned" else (request.mechanism,)
    claim = _check_limits(chain, request, mechanisms, planning, now=now)
    if planning == "adaptive" and _reservation_of(chain, request) is None:
        _check_whole_run(chain, request, claim)
    seq = len(chain.line_hashes)
    return (
        _reservation_line(chain, request, mechanisms, planning, claim),
        _round_line(request, seq),
    )


def planning_of(chain: Chain, request: ReleaseRequest) -> Planning:
    """Decides whether a run counts as planned.

    A run's parameters cannot depend on results that did not exist when it began.

    Raises:
        PrivacyError: The run is asked for as planned, but began as adaptive.
    """
    known = _reservation_of(chain, request)
    if known is not None:
        if request.planning not in (None, known.body.planning):
            raise PrivacyError(
                f"planning={request.planning} of run={request.run} was reserved as "
                f"{known.body.planning}",
                remedy=f"go on as {known.body.planning}",
            )
        return known.body.planning
    if request.planning is not None:
        return request.planning
    return chain.next_planning


def _repeats(chain: Chain, request: ReleaseRequest) -> bool:
    """Says whether the very same release was admitted before.

    Raises:
        PrivacyError: It was, and it is spent.
    """
    entry = chain.rounds.get(request.key)
    if entry is None:
        return False
    before = chain.bodies[entry]
    seeded = request.repeatable and chain.reservations[before.reservation].body.repeatable
    same = (before.inputs, before.mechanism) == (request.inputs, request.mechanism)
    unseen = request.kept_first and entry not in chain.commits
    if same and (seeded or unseen):
        return True
    why = "with other inputs" if seeded else "and fresh noise would be a second release"
    raise PrivacyError(
        f"round={request.round} of run={request.run}: {request.mechanism.name} is spent already "
        f"(line {entry}) {why}",
        remedy="ask for the next round, or start a run with another seed",
    )


def _reservation_of(chain: Chain, request: ReleaseRequest) -> ReservedBudget | None:
    """Returns the run's last reservation under this plan, if it may still pay."""
    last = None
    for seq, reserved in chain.reservations.items():
        body = reserved.body
        of_run = (body.run, body.plan_digest) == (request.run, request.plan_digest)
        if of_run and seq > chain.closed:
            last = reserved
    return last


def _check_plan(reserved: Reservation, request: ReleaseRequest) -> None:
    if reserved.mechanisms != request.plan:
        raise PrivacyError(
            f"plan={request.plan} of run={request.run} differs from what was reserved, "
            f"{reserved.mechanisms}",
            remedy="keep to the plan, or start another run",
        )
    if reserved.repeatable != request.repeatable:
        raise PrivacyError(
            f"repeatable={request.repeatable} of run={request.run} was {reserved.repeatable} when "
            "it was reserved",
            remedy="keep the source of noise, or start another run",
        )


def _check_limits(
    chain: Chain,
    request: ReleaseRequest,
    mechanisms: tuple[Mechanism, ...],
    planning: Planning,
    *,
    now: datetime,
) -> Spending:
    for mechanism in (*mechanisms, request.mechanism):
        check_mechanism(mechanism)
    limits = chain.limits
    claim = spending_after(chain, mechanisms, planning)
    held = claim if not chain.renewals else budget_after(chain, mechanisms, planning)
    if not held.bound <= limits.epsilon:
        raise _above_limit(chain, request, held.bound, planning)
    window = spending_in_window(chain, mechanisms, planning, now=now)
    most = limits.window_epsilon
    if window is not None and most is not None and not window.bound <= most:
        raise PrivacyError(
            f"would bring epsilon of the last {limits.window_days:g} days to {window.bound:.4g}, "
            f"above the shop's limit of {most:g}",
            name="run",
            value=request.run,
            remedy="wait, or send a plan with more noise",
        )
    return claim


def _check_whole_run(chain: Chain, request: ReleaseRequest, claim: Spending) -> None:
    """Refuses a later run that could begin and not end: its first number would be paid for nothing.

    Each of its releases is held against the limit again when it is asked for.
    """
    parts = {name: chain.mechanisms(name, after=chain.renewed) for name in ("planned", "adaptive")}
    whole = compose_spending(
        parts["planned"],
        (*parts["adaptive"], *request.plan),
        delta=chain.limits.delta,
        filter=claim.filter,
    )
    if not whole.bound <= chain.limits.epsilon:
        raise _above_limit(chain, request, whole.bound, "adaptive")


def _above_limit(
    chain: Chain, request: ReleaseRequest, epsilon: float, planning: Planning
) -> PrivacyError:
    limits = chain.limits
    whose = (
        "the shop's lifetime limit"
        if not chain.renewals
        else f"the limit since the renewal in line {chain.renewed}"
    )
    return PrivacyError(
        f"would bring epsilon to {epsilon:.4g} at delta={limits.delta:g}, above {whose} of "
        f"{limits.epsilon:g}: "
        f"{would_fit(chain, request.plan, request.mechanism, planning)}",
        name="run",
        value=request.run,
        remedy="send a plan with more noise or fewer rounds",
    )


def _reservation_line(
    chain: Chain,
    request: ReleaseRequest,
    mechanisms: tuple[Mechanism, ...],
    planning: Planning,
    claim: Spending,
) -> Reservation:
    start = chain.start
    return Reservation(
        run=request.run,
        planning=planning,
        mechanisms=mechanisms,
        plan_digest=request.plan_digest,
        base_hash=request.base_hash,
        repeatable=request.repeatable,
        unit=start.unit,
        adjacency=start.adjacency,
        delta=claim.delta,
        epsilon=claim.epsilon,
        epsilon_check=claim.epsilon_check,
        accountant=claim.accountant,
        accountant_check=claim.accountant_check,
        filter=claim.filter,
        versions=software_versions(),
    )


def software_versions() -> dict[str, str]:
    """Returns the versions of the software that accounts and adds noise."""
    return {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "?"


def _round_line(request: ReleaseRequest, reservation: int) -> Round:
    return Round(
        reservation=reservation,
        run=request.run,
        round=request.round,
        mechanism=request.mechanism,
        plan_digest=request.plan_digest,
        inputs=request.inputs,
    )
