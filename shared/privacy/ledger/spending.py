"""What a ledger has spent: composed from what was reserved.

Planned runs count by PLD, adaptive ones by a filter. Planned releases alone are composed at the
whole delta. As soon as there are adaptive releases, either part gets half of delta and the
epsilons add up (basic composition of two mechanisms, of which the second may depend on the
first).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.errors import PrivacyError
from shared.privacy.accounting.accountants import (
    GAUSSIAN,
    PLD,
    PRV,
    epsilon_bound,
    epsilon_pair,
    require_agreement,
)
from shared.privacy.accounting.calibration import check_delta, check_epsilon
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger import renyi_filter as rdp_filter
from shared.privacy.ledger.log.chain import Chain
from shared.privacy.ledger.log.entries import (
    LifetimeLimits,
    Planning,
    RenyiFilter,
    Reservation,
    UserBound,
)

ALERTS = (50, 80, 95)
"""Percent of the lifetime epsilon at which a shop is warned."""


@dataclass(frozen=True)
class Spending:
    """Epsilon of a set of releases.

    Attributes:
        epsilon: By `accountant`.
        epsilon_check: By `accountant_check`, an independent implementation.
        delta: At which both are stated.
        accountant: Library and method.
        accountant_check: Library and method.
        filter: Of the adaptive part, None where there is none.
    """

    epsilon: float
    epsilon_check: float
    delta: float
    accountant: str
    accountant_check: str
    filter: RenyiFilter | None

    @property
    def bound(self) -> float:
        """The larger of the two epsilons: what limits are held against."""
        return max(self.epsilon, self.epsilon_check)


def compose_spending(
    planned: Sequence[Mechanism],
    adaptive: Sequence[Mechanism],
    *,
    delta: float,
    filter: RenyiFilter | None,  # noqa: A002
) -> Spending:
    """Composes everything that was reserved.

    Args:
        planned: Mechanisms whose parameters no result could change.
        adaptive: Mechanisms whose parameters may depend on results.
        delta: Total delta.
        filter: Fixed before the first of `adaptive`; None where there are none.

    Guarantee:
        All releases together are (epsilon, delta)-DP under add or remove of one unit.

    Assumes:
        Everything planned was fixed before the first adaptive release.

    Raises:
        PrivacyError: A mechanism is unknown, or the accountants disagree.
    """
    part = delta if filter is None else delta / 2
    epsilon, check = epsilon_pair(planned, part)
    if math.isfinite(epsilon) or math.isfinite(check):
        require_agreement(epsilon, check, PLD)
    accountant, other = _names(planned)
    if filter is not None:
        epsilon += rdp_filter.epsilon_filter(adaptive, part, filter.order)
        check += rdp_filter.epsilon_filter_check(adaptive, part, filter.order)
        accountant = f"{accountant} + {rdp_filter.ACCOUNTANT}" if planned else rdp_filter.ACCOUNTANT
        other = f"{other} + {rdp_filter.CHECK}" if planned else rdp_filter.CHECK
    return Spending(epsilon, check, delta, accountant, other, filter)


def upper_bound(
    planned: Sequence[Mechanism],
    adaptive: Sequence[Mechanism],
    *,
    delta: float,
    filter: RenyiFilter | None,  # noqa: A002
) -> float:
    """Composes as `compose_spending`, with one accountant of the two: for long histories.

    Same arguments, guarantee and assumptions. At most `compose_spending(...).bound`, so what a
    ledger admitted is within its limits by this epsilon too.

    Raises:
        PrivacyError: A mechanism is unknown or out of bounds.
    """
    part = delta if filter is None else delta / 2
    epsilon = epsilon_bound(planned, part)
    if filter is None:
        return epsilon
    # The library that goes with the accountant of the planned part, or a rounding error of the
    # other one could pass a limit that was kept.
    with_exact = all(mechanism.sample_rate == 1 for mechanism in planned)
    of_filter = rdp_filter.epsilon_filter if with_exact else rdp_filter.epsilon_filter_check
    return epsilon + of_filter(adaptive, part, filter.order)


def spent(
    chain: Chain,
    *,
    since: datetime | None = None,
    after: int = -1,
    until: int | None = None,
    delta: float | None = None,
) -> Spending:
    """Returns what a ledger has spent: in all, over every renewal, or since some time or line.

    Args:
        chain: The ledger.
        since: Since some time.
        after: In the lines after this one; `chain.renewed` takes what counts against the limit.
        until: Up to some line.
        delta: At which to state it; None takes the lifetime delta.
    """
    adaptive = chain.mechanisms("adaptive", since=since, after=after, until=until)
    return compose_spending(
        chain.mechanisms("planned", since=since, after=after, until=until),
        adaptive,
        delta=chain.limits.delta if delta is None else delta,
        # Without anything adaptive there is nothing to convert, and no half of delta to set aside.
        filter=chain.filter if adaptive else None,
    )


def spent_of_budget(chain: Chain) -> Spending:
    """Returns what counts against the limit in force: what was reserved since the last renewal."""
    return spent(chain, after=chain.renewed)


def recorded_epsilon(chain: Chain) -> float:
    """Returns the epsilon that the last reservation or bound of users recorded, 0 before them.

    After a renewal, which forgets nothing that was recorded, it is what was reserved since then.
    """
    if chain.renewals:
        return spent_of_budget(chain).bound
    recorded: dict[int, Reservation | UserBound] = {**chain.user_bounds}
    recorded |= {seq: reserved.body for seq, reserved in chain.reservations.items()}
    if not recorded:
        return 0.0
    body = recorded[max(recorded)]
    return max(body.epsilon, body.epsilon_check)


def spending_after(chain: Chain, mechanisms: tuple[Mechanism, ...], planning: Planning) -> Spending:
    """Returns what would be spent in all if `mechanisms` were reserved.

    Raises:
        PrivacyError: A planned run would come after adaptive releases.
    """
    return _spending_after(chain, mechanisms, planning, after=-1)


def budget_after(chain: Chain, mechanisms: tuple[Mechanism, ...], planning: Planning) -> Spending:
    """Returns what would count against the limit in force if `mechanisms` were reserved.

    It is what was reserved since the last renewal; without one, everything.

    Raises:
        PrivacyError: A planned run would come after adaptive releases.
    """
    return _spending_after(chain, mechanisms, planning, after=chain.renewed)


def _spending_after(
    chain: Chain, mechanisms: tuple[Mechanism, ...], planning: Planning, *, after: int
) -> Spending:
    limits, fixed = chain.limits, chain.filter
    planned = chain.mechanisms("planned", after=after)
    adaptive = chain.mechanisms("adaptive", after=after)
    if planning == "adaptive":
        if fixed is None:
            # One order for the life of the ledger, chosen by what the budget in force leaves.
            fixed = rdp_filter.open_filter(
                mechanisms, epsilon=left_for_adaptive(chain), delta=limits.delta / 2
            )
        adaptive = adaptive + mechanisms
    elif fixed is not None:
        raise PrivacyError(
            "is not possible after adaptive releases, whose budget was fixed before they began",
            name="planning",
            value="planned",
            remedy="reserve this run as adaptive",
        )
    else:
        planned = planned + mechanisms
    return compose_spending(planned, adaptive, delta=limits.delta, filter=fixed)


def spending_in_window(
    chain: Chain, mechanisms: tuple[Mechanism, ...], planning: Planning, *, now: datetime
) -> Spending | None:
    """Returns what the window that ends now would have spent; None where none is limited."""
    limits = chain.limits
    since = window_start(limits, now)
    if since is None:
        return None
    parts = {name: chain.mechanisms(name, since=since) for name in ("planned", "adaptive")}
    parts[planning] = parts[planning] + mechanisms
    fixed = chain.filter
    if fixed is None and planning == "adaptive":
        fixed = spending_after(chain, mechanisms, planning).filter
    return compose_spending(parts["planned"], parts["adaptive"], delta=limits.delta, filter=fixed)


def left_for_adaptive(chain: Chain) -> float:
    """Returns what the budget in force leaves for adaptive releases beside its planned ones."""
    limits, planned = chain.limits, chain.mechanisms("planned", after=chain.renewed)
    before = compose_spending(planned, (), delta=limits.delta / 2, filter=None)
    return max(0.0, limits.epsilon - before.bound)


def window_start(limits: LifetimeLimits, now: datetime) -> datetime | None:
    """Returns when the window that ends now began; None without a window."""
    return None if limits.window_days is None else now - timedelta(days=limits.window_days)


def alerts(epsilon: float, limit: float) -> tuple[int, ...]:
    """Returns the alerts, in percent of the limit, that an epsilon has reached."""
    return tuple(percent for percent in ALERTS if epsilon >= limit * percent / 100)


def check_limits(limits: LifetimeLimits) -> None:
    """Refuses limits that cannot be accounted for.

    Raises:
        PrivacyError: Epsilon or delta is out of bounds, or a window is only half given.
    """
    check_epsilon(limits.epsilon)
    check_delta(limits.delta, limits.max_users)
    check_window(limits)


def check_window(limits: LifetimeLimits) -> None:
    """Refuses a limit of a window without a length, or a length without a limit.

    Raises:
        PrivacyError: The window is only half given.
    """
    if (limits.window_days is None) != (limits.window_epsilon is None):
        raise PrivacyError(
            f"window_days={limits.window_days} and window_epsilon={limits.window_epsilon} go "
            "together",
            remedy="give both or neither",
        )


def limits_in_words(limits: LifetimeLimits) -> str:
    """Writes limits for a message."""
    window = (
        ""
        if limits.window_days is None
        else (f", {limits.window_epsilon:g} within {limits.window_days:g} days")
    )
    users = "" if limits.max_users is None else f", {limits.max_users} users"
    return f"epsilon {limits.epsilon:g}, delta {limits.delta:g}{window}{users}"


def _names(planned: Sequence[Mechanism]) -> tuple[str, str]:
    full_batch = all(mechanism.sample_rate == 1 for mechanism in planned)
    return (GAUSSIAN if full_batch else PRV), PLD
