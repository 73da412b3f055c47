"""Which requests a ledger admits, and what lines they add: pure functions of the chain."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared.environment import installed_version
from shared.errors import PrivacyError
from shared.privacy.accounting import check_mechanism
from shared.privacy.guarantee import Mechanism
from shared.privacy.ledger.chain import Chain, Reserved, RoundKey, check_round
from shared.privacy.ledger.entries import Body, Planning, Reservation, Round
from shared.privacy.ledger.forecast import would_fit
from shared.privacy.ledger.spending import Spending, after, in_window

PACKAGES = ("fedprofile", "dp-accounting", "opacus", "torch", "cryptography")


@dataclass(frozen=True)
class Request:
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
    planning: Planning | None = None

    @property
    def key(self) -> RoundKey:
        """What may be spent once."""
        return (self.run, self.round, self.mechanism.name, self.plan_digest)


def admit(chain: Chain, request: Request, *, now: datetime) -> tuple[Body, ...]:
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
        body = _round(request, reserved.seq)
        check_round(chain, body)
        return (body,)
    mechanisms = request.plan if planning == "planned" else (request.mechanism,)
    claim = _check_limits(chain, request, mechanisms, planning, now=now)
    seq = len(chain.heads)
    return (_reservation(chain, request, mechanisms, planning, claim), _round(request, seq))


def planning_of(chain: Chain, request: Request) -> Planning:
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
                f"{known.body.planning}; go on as {known.body.planning}"
            )
        return known.body.planning
    if request.planning is not None:
        return request.planning
    return "adaptive" if chain.commits or chain.filter is not None else "planned"


def _repeats(chain: Chain, request: Request) -> bool:
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
    if seeded and same:
        return True
    why = "with other inputs" if seeded else "and fresh noise would be a second release"
    raise PrivacyError(
        f"round={request.round} of run={request.run}: {request.mechanism.name} is spent already "
        f"(line {entry}) {why}; ask for the next round, or start a run with another seed"
    )


def _reservation_of(chain: Chain, request: Request) -> Reserved | None:
    """Returns the run's last reservation under this plan."""
    found = None
    for reserved in chain.reservations.values():
        if (reserved.body.run, reserved.body.plan_digest) == (request.run, request.plan_digest):
            found = reserved
    return found


def _check_plan(reserved: Reservation, request: Request) -> None:
    if reserved.mechanisms != request.plan:
        raise PrivacyError(
            f"plan={request.plan} of run={request.run} differs from what was reserved, "
            f"{reserved.mechanisms}; keep to the plan, or start another run"
        )
    if reserved.repeatable != request.repeatable:
        raise PrivacyError(
            f"repeatable={request.repeatable} of run={request.run} was {reserved.repeatable} when "
            "it was reserved; keep the source of noise, or start another run"
        )


def _check_limits(
    chain: Chain,
    request: Request,
    mechanisms: tuple[Mechanism, ...],
    planning: Planning,
    *,
    now: datetime,
) -> Spending:
    for mechanism in (*mechanisms, request.mechanism):
        check_mechanism(mechanism)
    limits = chain.start.limits
    claim = after(chain, mechanisms, planning)
    if not claim.bound <= limits.epsilon:
        raise PrivacyError(
            f"run={request.run} would bring epsilon to {claim.bound:.4g} at delta="
            f"{limits.delta:g}, above the shop's lifetime limit of {limits.epsilon:g}: "
            f"{would_fit(chain, (request.mechanism,), planning)}; send a plan with more noise or "
            "fewer rounds"
        )
    window = in_window(chain, mechanisms, planning, now=now)
    most = limits.window_epsilon
    if window is not None and most is not None and not window.bound <= most:
        raise PrivacyError(
            f"run={request.run} would bring epsilon of the last {limits.window_days:g} days to "
            f"{window.bound:.4g}, above the shop's limit of {most:g}; wait, or send a plan with "
            "more noise"
        )
    return claim


def _reservation(
    chain: Chain,
    request: Request,
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
        versions={name: installed_version(name) or "?" for name in PACKAGES},
    )


def _round(request: Request, reservation: int) -> Round:
    return Round(
        reservation=reservation,
        run=request.run,
        round=request.round,
        mechanism=request.mechanism,
        plan_digest=request.plan_digest,
        inputs=request.inputs,
    )
