"""What a ledger has spent: planned runs by PLD, adaptive ones by a filter, and both together.

Planned releases alone are composed at the whole delta. As soon as there are adaptive releases,
either part gets half of delta and the epsilons add up (basic composition of two mechanisms, of
which the second may depend on the first).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.errors import PrivacyError
from shared.privacy.accounting import GAUSSIAN, PLD, PRV, epsilon_pair, require_agreement
from shared.privacy.calibration import check_delta, check_epsilon
from shared.privacy.guarantee import Mechanism
from shared.privacy.ledger import rdp_filter
from shared.privacy.ledger.chain import Chain
from shared.privacy.ledger.entries import Filter, Limits, Planning

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
    filter: Filter | None

    @property
    def bound(self) -> float:
        """The larger of the two epsilons: what limits are held against."""
        return max(self.epsilon, self.epsilon_check)


def spending(
    planned: Sequence[Mechanism],
    adaptive: Sequence[Mechanism],
    *,
    delta: float,
    filter: Filter | None,  # noqa: A002
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


def spent(chain: Chain, *, since: datetime | None = None) -> Spending:
    """Returns what a ledger has spent, in all or since some time."""
    return spending(
        chain.mechanisms("planned", since=since),
        chain.mechanisms("adaptive", since=since),
        delta=chain.start.limits.delta,
        filter=chain.filter,
    )


def claimed(chain: Chain) -> float:
    """Returns the epsilon that the last reservation recorded, 0 before the first."""
    if not chain.reservations:
        return 0.0
    body = chain.reservations[max(chain.reservations)].body
    return max(body.epsilon, body.epsilon_check)


def after(chain: Chain, mechanisms: tuple[Mechanism, ...], planning: Planning) -> Spending:
    """Returns what would be spent if `mechanisms` were reserved.

    Raises:
        PrivacyError: A planned run would come after adaptive releases.
    """
    limits, planned = chain.start.limits, chain.mechanisms("planned")
    adaptive, fixed = chain.mechanisms("adaptive"), chain.filter
    if planning == "adaptive":
        if fixed is None:
            before = spending(planned, (), delta=limits.delta / 2, filter=None)
            left = max(0.0, limits.epsilon - before.bound)
            fixed = rdp_filter.open_filter(mechanisms, epsilon=left, delta=limits.delta / 2)
        adaptive = adaptive + mechanisms
    elif fixed is not None:
        raise PrivacyError(
            "planning=planned is not possible after adaptive releases, whose budget was fixed "
            "before they began; reserve this run as adaptive"
        )
    else:
        planned = planned + mechanisms
    return spending(planned, adaptive, delta=limits.delta, filter=fixed)


def in_window(
    chain: Chain, mechanisms: tuple[Mechanism, ...], planning: Planning, *, now: datetime
) -> Spending | None:
    """Returns what the window that ends now would have spent; None where none is limited."""
    limits = chain.start.limits
    since = window_start(limits, now)
    if since is None:
        return None
    parts = {name: chain.mechanisms(name, since=since) for name in ("planned", "adaptive")}
    parts[planning] = parts[planning] + mechanisms
    fixed = chain.filter
    if fixed is None and planning == "adaptive":
        fixed = after(chain, mechanisms, planning).filter
    return spending(parts["planned"], parts["adaptive"], delta=limits.delta, filter=fixed)


def window_start(limits: Limits, now: datetime) -> datetime | None:
    """Returns when the window that ends now began; None without a window."""
    return None if limits.window_days is None else now - timedelta(days=limits.window_days)


def alerts(epsilon: float, limit: float) -> tuple[int, ...]:
    """Returns the alerts, in percent of the limit, that an epsilon has reached."""
    return tuple(percent for percent in ALERTS if epsilon >= limit * percent / 100)


def check_limits(limits: Limits) -> None:
    """Refuses limits that cannot be accounted for.

    Raises:
        PrivacyError: Epsilon or delta is out of bounds, or a window is only half given.
    """
    check_epsilon(limits.epsilon)
    check_delta(limits.delta)
    if (limits.window_days is None) != (limits.window_epsilon is None):
        raise PrivacyError(
            f"window_days={limits.window_days} and window_epsilon={limits.window_epsilon} go "
            "together; give both or neither"
        )


def limits_in_words(limits: Limits) -> str:
    """Writes limits for a message."""
    window = (
        ""
        if limits.window_days is None
        else (f", {limits.window_epsilon:g} within {limits.window_days:g} days")
    )
    return f"epsilon {limits.epsilon:g}, delta {limits.delta:g}{window}"


def _names(planned: Sequence[Mechanism]) -> tuple[str, str]:
    full_batch = all(mechanism.sample_rate == 1 for mechanism in planned)
    return (GAUSSIAN if full_batch else PRV), PLD
