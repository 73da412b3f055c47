"""A ledger's spending at every line of its history, held against the limits in force there.

Nothing that a line states of its own cost is believed: whoever holds the shop's key can sign any
figure. Each epsilon is computed again from the mechanisms, and the figure that was written is one
more thing that can be wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from shared.errors import PrivacyError
from shared.privacy.accounting.accountants import agrees
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger.log.chain import Chain
from shared.privacy.ledger.log.entries import (
    LifetimeLimits,
    Renewal,
    RenyiFilter,
    Reservation,
    UserBound,
)
from shared.privacy.ledger.log.renewals import renewed_limits
from shared.privacy.ledger.log.state import ReservedBudget
from shared.privacy.ledger.spending import check_window, upper_bound, window_start

OVERSPENT = "state the epsilon that was spent, and find out what released more than the limit"
"""Remedy for a ledger that passed its own limit: nothing takes a release back."""
WRONG_FIGURE = "state the epsilon that was computed again, and find out who wrote the other one"
"""Remedy for a line that states another epsilon than its mechanisms cost."""


@dataclass(frozen=True)
class SpendingPoint:
    """What a ledger had spent from one line on that spends, or changes what may be spent.

    Attributes:
        line: Number of the line: a reservation, a raised bound of users or a renewal.
        epsilon: Of everything reserved since the genesis up to it, at the delta in force; infinity
            where no accountant bounds it.
        held: The same since the last renewal: what the limit is held against.
        window: Of the window that ends at it; None where none is limited.
        limits: In force from this line on.
        fault: The limit that is passed here, or the figure of this line that is wrong, in words;
            empty where all is well.
    """

    line: int
    epsilon: float
    held: float
    window: float | None
    limits: LifetimeLimits
    fault: str


def spending_history(chain: Chain) -> tuple[SpendingPoint, ...]:
    """Computes what was spent after each line that spends, and what is wrong with it.

    Guarantee:
        Where no point has a fault, everything reserved between two renewals is (limit, delta)-DP
        for one user at each of its lines, and so is every window that the ledger limits: the one
        that holds most ends with a reservation.

    Assumes:
        Runs recorded as planned were fixed before anything was released, and the order of a filter
        before the first adaptive release: a ledger says so, and its lines are in that order.
    """
    history = _History(chain.start.limits)
    bodies: dict[int, ReservedBudget | Renewal | UserBound] = {
        **chain.reservations,
        **chain.renewals,
        **chain.user_bounds,
    }
    return tuple(history.point(line, bodies[line]) for line in sorted(bodies))


def first_fault(history: Iterable[SpendingPoint]) -> str:
    """Returns the first thing that is wrong; empty where nothing is."""
    return next((point.fault for point in history if point.fault), "")


class _Reserved:
    """Everything reserved in some stretch of a ledger, equal mechanisms as one with their steps.

    A ledger of adaptive releases has a reservation a round: adding all of them up again at each
    line would take the square of their number.
    """

    def __init__(self) -> None:
        self._steps: dict[str, dict[Mechanism, int]] = {"planned": {}, "adaptive": {}}

    def add(self, body: Reservation, *, sign: int = 1) -> None:
        steps = self._steps[body.planning]
        for mechanism in body.mechanisms:
            kind = replace(mechanism, steps=0)
            steps[kind] = steps.get(kind, 0) + sign * mechanism.steps

    def epsilon(self, delta: float, fixed: RenyiFilter | None) -> float:
        planned, adaptive = (
            tuple(replace(kind, steps=n) for kind, n in self._steps[name].items() if n)
            for name in ("planned", "adaptive")
        )
        # As in `spent`: without anything adaptive there is nothing to convert.
        return upper_bound(planned, adaptive, delta=delta, filter=fixed if adaptive else None)


@dataclass
class _History:
    """The walk through a ledger: what holds between two of its lines.

    Attributes:
        limits: In force.
        fixed: Filter of adaptive releases; None before the first.
        total: Reserved since the genesis.
        budget: Reserved since the last renewal.
        reserved: All reservations, in order.
        first: Place of the first of them within the window that ended last.
        within: Reserved within that window.
    """

    limits: LifetimeLimits
    fixed: RenyiFilter | None = None
    total: _Reserved = field(default_factory=_Reserved)
    budget: _Reserved = field(default_factory=_Reserved)
    reserved: list[ReservedBudget] = field(default_factory=list)
    first: int = 0
    within: _Reserved = field(default_factory=_Reserved)

    def point(self, line: int, entry: ReservedBudget | Renewal | UserBound) -> SpendingPoint:
        """Takes one line in and says what is spent after it."""
        body = entry.body if isinstance(entry, ReservedBudget) else entry
        self._take(body)
        if isinstance(entry, ReservedBudget):
            self.reserved.append(entry)
        epsilon = held = math.inf
        window, fault = None, ""
        try:
            check_window(self.limits)
            epsilon = self.total.epsilon(self.limits.delta, self.fixed)
            held = self.budget.epsilon(self.limits.delta, self.fixed)
            _check_held(held, self.limits)
            if isinstance(entry, ReservedBudget):
                window = self._window(entry)
                _check_window_spending(window, self.limits)
            _check_figures(epsilon, body, delta=self.limits.delta)
        except PrivacyError as error:
            fault = str(PrivacyError(f"line {line}: {error.message}", remedy=error.remedy))
        return SpendingPoint(line, epsilon, held, window, self.limits, fault)

    def _take(self, body: Reservation | Renewal | UserBound) -> None:
        if isinstance(body, Reservation):
            self.fixed = self.fixed or body.filter
            for stretch in (self.total, self.budget, self.within):
                stretch.add(body)
        elif isinstance(body, Renewal):
            self.limits, self.budget = renewed_limits(self.limits, [body]), _Reserved()
            self._reopen_window()
        else:
            stated = {"max_users": body.max_users, "delta": body.delta}
            self.limits = self.limits.model_copy(update=stated)

    def _reopen_window(self) -> None:
        """Takes everything back into the window: a renewal may have made it longer."""
        self.first, self.within = 0, _Reserved()
        for reserved in self.reserved:
            self.within.add(reserved.body)

    def _window(self, entry: ReservedBudget) -> float | None:
        """Returns epsilon of the window that ends with a reservation; None without a limit."""
        since = window_start(self.limits, entry.time)
        if since is None:
            return None
        while self.reserved[self.first].time < since:
            self.within.add(self.reserved[self.first].body, sign=-1)
            self.first += 1
        return self.within.epsilon(self.limits.delta, self.fixed)


def _check_held(epsilon: float, limits: LifetimeLimits) -> None:
    if not epsilon <= limits.epsilon:
        raise PrivacyError(
            f"must be at most {limits.epsilon:g}, the ledger's own limit at delta={limits.delta:g}",
            name="epsilon",
            value=f"{epsilon:.5g}",
            remedy=OVERSPENT,
        )


def _check_window_spending(epsilon: float | None, limits: LifetimeLimits) -> None:
    most = limits.window_epsilon
    if epsilon is not None and most is not None and not epsilon <= most:
        raise PrivacyError(
            f"must be at most {most:g} within {limits.window_days:g} days, the ledger's own limit "
            "of a window",
            name="epsilon",
            value=f"{epsilon:.5g}",
            remedy=OVERSPENT,
        )


def _check_figures(
    epsilon: float, body: Reservation | Renewal | UserBound, *, delta: float
) -> None:
    """Refuses a line that states another cost of everything up to it than was computed.

    A renewal and a bound of users state it of what came before them, which is the same: they
    reserve nothing, and delta is the new one.
    """
    if isinstance(body, Reservation) and body.delta != delta:
        raise PrivacyError(
            f"is what the line states, and must be {delta:g}, the ledger's",
            name="delta",
            value=f"{body.delta:g}",
            remedy=WRONG_FIGURE,
        )
    for name, figure in (("epsilon", body.epsilon), ("epsilon_check", body.epsilon_check)):
        if not agrees(epsilon, figure):
            raise PrivacyError(
                f"is what the line states, and must be {epsilon:.5g} within 0.005 + 0.5%",
                name=name,
                value=f"{figure:.5g}",
                remedy=WRONG_FIGURE,
            )
