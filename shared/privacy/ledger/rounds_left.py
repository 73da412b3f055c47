"""How many more runs and rounds fit into what a ledger has left, by one fast accountant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from shared.errors import PrivacyError
from shared.privacy.accounting.accountants import (
    epsilon_gaussian,
    epsilon_pld,
)
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger import renyi_filter as rdp_filter
from shared.privacy.ledger.log.chain import Chain
from shared.privacy.ledger.log.entries import (
    Planning,
)
from shared.privacy.ledger.spending import left_for_adaptive, spending_after, spent_of_budget

MAX_ROUNDS = 10_000
"""A forecast counts no further."""


def rounds_that_fit(
    chain: Chain, a_round: tuple[Mechanism, ...], planning: Planning = "planned"
) -> int:
    """Returns about how many times `a_round`, or a whole run, still fits under the limit.

    One fast accountant decides, so the last round or two may differ from what a reservation says.
    In a ledger with adaptive releases every further round is adaptive.
    """
    limits, planned = chain.limits, chain.mechanisms("planned", after=chain.renewed)
    if planning == "planned" and chain.filter is None:
        return most_rounds(planned, a_round, epsilon=limits.epsilon, delta=limits.delta)
    try:
        fixed = spending_after(chain, a_round, "adaptive").filter
    except PrivacyError:
        return 0
    if fixed is None:
        return 0
    adaptive = chain.mechanisms("adaptive", after=chain.renewed)
    used = rdp_filter.divergence(adaptive, fixed.order)
    each = rdp_filter.divergence(a_round, fixed.order)
    budget = fixed.budget
    if chain.renewals:
        budget = left_for_adaptive(chain) - rdp_filter.charge(fixed.order, limits.delta / 2)
    return int(min(max((budget - used) / each, 0), MAX_ROUNDS)) if each else MAX_ROUNDS


def most_rounds(
    before: Sequence[Mechanism], a_round: tuple[Mechanism, ...], *, epsilon: float, delta: float
) -> int:
    """Returns how many rounds keep `before` and themselves within (epsilon, delta)."""

    def fits(rounds: int) -> bool:
        return quick_epsilon([*before, *times(a_round, rounds)], delta) <= epsilon

    return _largest(fits)


def times(a_round: Sequence[Mechanism], rounds: int) -> tuple[Mechanism, ...]:
    """Returns the mechanisms of several equal rounds."""
    return tuple(replace(m, steps=m.steps * rounds) for m in a_round)


def quick_epsilon(mechanisms: Sequence[Mechanism], delta: float) -> float:
    """Computes epsilon with the fastest accountant that is close; infinity beyond its reach."""
    try:
        if all(m.sample_rate == 1 for m in mechanisms):
            return epsilon_gaussian(mechanisms, delta)
        return epsilon_pld(mechanisms, delta, grid=1e-3)
    except PrivacyError:
        return float("inf")


def would_fit(
    chain: Chain, whole: tuple[Mechanism, ...], release: Mechanism, planning: Planning
) -> str:
    """Says for a refusal how much is left, and how many such runs and releases would fit."""
    left = max(0.0, chain.limits.epsilon - spent_of_budget(chain).bound)
    runs = rounds_that_fit(chain, whole, planning)
    releases = rounds_that_fit(chain, (release,), planning)
    return (
        f"epsilon {left:.4g} is left, in which {runs} such runs fit, or {releases} releases of "
        f"{release.name}"
    )


def _largest(fits: Callable[[int], bool]) -> int:
    low, high = 0, 1
    while high <= MAX_ROUNDS and fits(high):
        low, high = high, high * 2
    high = min(high, MAX_ROUNDS + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
