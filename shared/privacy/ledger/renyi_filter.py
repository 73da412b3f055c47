"""A Rényi filter for releases whose parameters may depend on what was released before.

PRV and PLD accountants compose what was fixed in advance; "compose until it is too much" is not a
valid stopping rule for them once parameters adapt (https://arxiv.org/abs/2602.06756). A filter at
one Rényi order is (Feldman and Zrnic, https://arxiv.org/abs/2008.11193, Theorem 4.3): the
divergences at that order are added, and a release that would pass the budget is refused.

The order is fixed before the first adaptive release, from the budget and that release's public
parameters. Letting whichever order still fits decide after the fact would need a union bound over
the orders.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache

from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent

from shared.errors import PrivacyError
from shared.privacy.accounting.accountants import check_mechanism
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger.log.entries import RenyiFilter

ORDERS = tuple(1 + 1.05**power for power in range(-60, 127))
"""Orders from 1.05 to 470, among which a filter's one order is chosen."""
ACCOUNTANT = "Opacus RDP at one order, as a filter (Feldman and Zrnic 2021)"
CHECK = "dp-accounting RDP at the same order"


def open_filter(first: Sequence[Mechanism], *, epsilon: float, delta: float) -> RenyiFilter:
    """Chooses the order at which most releases like the first fit into (epsilon, delta).

    Args:
        first: Mechanisms of the first adaptive release; later ones may differ, at some loss.
        epsilon: What adaptive releases may cost together.
        delta: Their share of the lifetime delta.

    Raises:
        PrivacyError: No order leaves anything.
    """
    budgets = {order: epsilon - charge(order, delta) for order in ORDERS}
    usable = {order: budget for order, budget in budgets.items() if budget > 0}
    if not usable:
        raise PrivacyError(
            f"epsilon={epsilon:.4g} left for adaptive releases is below "
            f"{min(charge(o, delta) for o in ORDERS):.4g}, what a Rényi filter needs at "
            f"delta={delta:g}",
            remedy="go on with planned runs, or see `fedprofile node ledger renew`",
        )
    cost = {order: divergence(first, order) for order in usable}
    order = max(usable, key=lambda order: usable[order] / max(cost[order], 1e-300))
    return RenyiFilter(order=order, budget=usable[order])


@lru_cache(maxsize=1024)
def charge(order: float, delta: float) -> float:
    """Returns epsilon of a divergence of 0 at this order: what the conversion itself costs."""
    from opacus.accountants.analysis.rdp import get_privacy_spent

    # Opacus warns that the best order is the first or last of its list; here the list is one order.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        epsilon, _ = get_privacy_spent(orders=[order], rdp=[0.0], delta=delta)
    return float(epsilon)


def divergence(mechanisms: Sequence[Mechanism], order: float) -> float:
    """Adds up the Rényi divergences at one order.

    Returns:
        Infinity if something is released without noise.

    Raises:
        PrivacyError: A mechanism is unknown or out of bounds.
    """
    return math.fsum(
        _step_divergence(*group) * steps for group, steps in _grouped(mechanisms, order).items()
    )


def epsilon_filter(mechanisms: Sequence[Mechanism], delta: float, order: float) -> float:
    """Returns epsilon of what was released under a filter of this order.

    Guarantee:
        (epsilon, delta)-DP for adaptively chosen parameters, add or remove of one unit.

    Assumes:
        The order was fixed before the first of `mechanisms`.
    """
    # The conversion of https://arxiv.org/abs/1905.09982 (Theorem 21) may be negative; epsilon not.
    return max(0.0, divergence(mechanisms, order) + charge(order, delta))


def epsilon_filter_check(mechanisms: Sequence[Mechanism], delta: float, order: float) -> float:
    """Computes the same with Google's RDP accountant, an independent implementation."""
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant([order])
    for mechanism in mechanisms:
        check_mechanism(mechanism)
        if mechanism.noise_multiplier == 0 and mechanism.steps:
            return math.inf
        gaussian = GaussianDpEvent(mechanism.noise_multiplier)
        rate = mechanism.sample_rate
        event = gaussian if rate == 1 else PoissonSampledDpEvent(rate, gaussian)
        accountant.compose(event, mechanism.steps)
    return max(0.0, float(accountant.get_epsilon(delta)))


def _grouped(
    mechanisms: Sequence[Mechanism], order: float
) -> dict[tuple[float, float, float], int]:
    steps: dict[tuple[float, float, float], int] = {}
    for mechanism in mechanisms:
        check_mechanism(mechanism)
        key = (mechanism.noise_multiplier, mechanism.sample_rate, order)
        steps[key] = steps.get(key, 0) + mechanism.steps
    return steps


@lru_cache(maxsize=4096)
def _step_divergence(noise_multiplier: float, sample_rate: float, order: float) -> float:
    if noise_multiplier == 0:
        return math.inf
    from opacus.accountants.analysis.rdp import compute_rdp

    divergences = compute_rdp(
        q=sample_rate, noise_multiplier=noise_multiplier, steps=1, orders=[order]
    )
    return float(divergences[0])
