"""Epsilon of a plan that was fixed in advance, by library accountants that must agree.

Full-batch plans have three: the exact Gaussian mechanism, PLD and PRV. Plans with Poisson sampling
have two, PRV and PLD, since no exact form is known for them.

Nothing here derives privacy mathematics of its own: Opacus' PRV accountant (Gopi et al.,
https://arxiv.org/abs/2106.02848), Google's privacy loss distributions
(https://github.com/google/differential-privacy) and the exact Gaussian mechanism of Balle and Wang
(https://arxiv.org/abs/1805.06530, as implemented by dp-accounting) do the work.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import get_args

import dp_accounting as dpa
import numpy as np
from dp_accounting import gaussian_mechanism

from shared.errors import PrivacyError
from shared.privacy.accounting.guarantee import (
    ADJACENCY,
    UNIT,
    Guarantee,
    Mechanism,
    MechanismName,
    trust,
)

PRV = "Opacus PRV"
PLD = "dp-accounting PLD"
GAUSSIAN = "exact Gaussian (Balle and Wang 2018, dp-accounting)"

KNOWN_MECHANISMS = frozenset(get_args(MechanismName))
MIN_DELTA = 1e-10
"""Below this, rounding errors of the accountants' Fourier transforms are no longer negligible."""
MAX_SAMPLED_STEPS = 100_000
"""Above this, the PRV accountant needs gigabytes."""
MIN_NOISE = 0.1
"""Below this, a single step has losses in the hundreds, and the accountants take minutes."""
MAX_MU_SQUARED = 400.0
"""Above this sum of steps * (sample_rate / noise_multiplier)^2, epsilon is in the hundreds."""


class UnboundedError(PrivacyError):
    """So little noise that no accountant here bounds what is released."""


Group = tuple[float, float, int]
"""(noise_multiplier, sample_rate, steps) of all mechanisms with equal noise and rate."""


def epsilon_prv(mechanisms: Sequence[Mechanism], delta: float, *, eps_error: float = 1e-3) -> float:
    """Computes an upper bound of epsilon with Opacus' PRV accountant.

    Args:
        mechanisms: Everything that is released; fixed before the first step.
        delta: Total delta.
        eps_error: Width of the numerical error that the bound includes.

    Returns:
        Epsilon; 0 if nothing is released, infinity if something is released without noise.

    Guarantee:
        The composition is (epsilon, delta)-DP under add or remove of one unit.

    Assumes:
        Parameters do not depend on earlier results; Poisson sampling; exact arithmetic.

    Raises:
        PrivacyError: A mechanism or delta is unknown or out of bounds.
    """
    return _composed(_prv, mechanisms, delta, eps_error)


def epsilon_pld(
    mechanisms: Sequence[Mechanism], delta: float, *, grid: float | None = None
) -> float:
    """Computes an upper bound of epsilon with Google's privacy loss distributions.

    Same arguments, result, guarantee and errors as `epsilon_prv`, but for `grid`: the width of the
    bins of the losses. By default it is 1e-3, and 1e-4 where a step loses so little that 1e-3
    would be coarse. More than four groups of distinct parameters stay at 1e-3, which is looser but
    never too low.
    """
    if grid is None:
        groups = _grouped(mechanisms)
        # The error of a bin adds up over the steps, so many steps of little loss need narrow bins;
        # each group of parameters is one more convolution over ten times as many of them.
        fine = len(groups) <= 4 and any(noise > max(0.3, 50 * rate) for noise, rate, _ in groups)
        grid = 1e-4 if fine else 1e-3
    return _composed(_pld, mechanisms, delta, grid)


def epsilon_gaussian(mechanisms: Sequence[Mechanism], delta: float) -> float:
    """Computes the exact epsilon of full-batch Gaussian mechanisms.

    Same arguments, result, guarantee and errors as `epsilon_prv`. Gaussians compose to one with
    mu^2 = sum(steps / noise_multiplier^2) (Dong et al., https://arxiv.org/abs/1905.02383, 3.3).

    Raises:
        PrivacyError: Also if a mechanism samples its users.
    """
    for mechanism in mechanisms:
        if mechanism.sample_rate != 1:
            raise PrivacyError(
                f"sample_rate={mechanism.sample_rate} of {mechanism.name} must be 1 for the exact "
                "Gaussian accountant",
                remedy="use epsilon_prv",
            )
    return _composed(_gaussian, mechanisms, delta, 0.0)


def epsilon_pair(mechanisms: Sequence[Mechanism], delta: float) -> tuple[float, float]:
    """Computes epsilon by the accountant of record and by Google's PLD.

    Returns:
        `(epsilon, epsilon_check)`: the first is exact Gaussian for full-batch plans and PRV
        otherwise, where its error bound is a thousandth of epsilon, within 0.001 and 0.01.
    """
    check = epsilon_pld(mechanisms, delta)
    if _full_batch(mechanisms):
        return epsilon_gaussian(mechanisms, delta), check
    return epsilon_prv(mechanisms, delta, eps_error=prv_error(check)), check


def epsilon_bound(mechanisms: Sequence[Mechanism], delta: float) -> float:
    """Computes one of the two epsilons of `epsilon_pair`: the one that takes less time.

    Exact Gaussian for full-batch plans and PLD otherwise. Either is an upper bound by itself, so
    whoever checks many points of a history need not wait for PRV at each.
    """
    if _full_batch(mechanisms):
        return epsilon_gaussian(mechanisms, delta)
    return epsilon_pld(mechanisms, delta)


def guarantee(mechanisms: Sequence[Mechanism], *, delta: float) -> Guarantee:
    """States what one user of a shop gets for everything in `mechanisms` together.

    For a person who is a user of several shops, pass the mechanisms of all of them; those with
    shared noise go through `group_privacy.for_group` first.

    Args:
        mechanisms: Everything that leaves, fixed before the first step.
        delta: Total delta.

    Returns:
        The guarantee, with epsilon by two independent accountants.

    Raises:
        PrivacyError: A mechanism is unknown or has no noise, or the accountants disagree.
    """
    epsilon, check = epsilon_pair(mechanisms, delta)
    if not math.isfinite(epsilon):
        raise PrivacyError(
            "noise_multiplier=0 gives no guarantee: epsilon is infinite",
            remedy="set an epsilon, or state that the run is not private",
        )
    full_batch = _full_batch(mechanisms)
    others = {PLD: check}
    if full_batch:
        others[PRV] = epsilon_prv(mechanisms, delta, eps_error=prv_error(check))
    for name, other in others.items():
        require_agreement(epsilon, other, name)
    return Guarantee(
        epsilon=epsilon,
        delta=delta,
        unit=UNIT,
        adjacency=ADJACENCY,
        sampling="full-batch" if full_batch else "poisson",
        accountant=GAUSSIAN if full_batch else PRV,
        epsilon_check=check,
        accountant_check=PLD,
        trust=trust(mechanisms),
        mechanisms=tuple(mechanisms),
    )


def require_agreement(epsilon: float, other: float, name: str) -> None:
    """Refuses two epsilons of one plan that differ by more than 0.005 + 0.5%.

    Raises:
        PrivacyError: They do.
    """
    if not agrees(epsilon, other):
        raise PrivacyError(
            f"epsilon={epsilon:.5f} and epsilon={other:.5f} ({name}) differ by more than 0.005 + "
            "0.5%",
            remedy="do not release, and report the plan as a defect of the accounting",
        )


def agrees(epsilon: float, other: float) -> bool:
    """Says whether two epsilons of one plan are finite and within 0.005 + 0.5% of the larger."""
    larger = max(epsilon, other)
    return math.isfinite(larger) and abs(epsilon - other) <= 0.005 + 0.005 * larger


def prv_error(epsilon: float) -> float:
    """Returns the PRV accountant's error bound for a plan of about `epsilon`."""
    return min(max(epsilon / 1000, 1e-3), 1e-2)


def check_mechanism(mechanism: Mechanism) -> None:
    """Refuses what no accountant here knows.

    Raises:
        PrivacyError: Unknown name, or a parameter out of its bounds.
    """
    if mechanism.name not in KNOWN_MECHANISMS:
        raise PrivacyError(
            "is not known to the accountant",
            name="mechanism",
            value=f"{mechanism.name!r}",
            remedy=f"known are {', '.join(sorted(KNOWN_MECHANISMS))}",
        )
    noise, rate = mechanism.noise_multiplier, mechanism.sample_rate
    steps, shops = mechanism.steps, mechanism.shared_by
    finite = noise >= 0 and math.isfinite(noise)
    for name, value, holds, bound in (
        ("noise_multiplier", noise, finite, "finite and not negative"),
        ("sample_rate", rate, 0 < rate <= 1, "above 0 and at most 1"),
        ("steps", steps, steps >= 0 and steps % 1 == 0, "a whole number of at least 0"),
        ("shared_by", shops, shops >= 1 and shops % 1 == 0, "a whole number of at least 1"),
    ):
        if not holds:
            remedy = "raise it" if name == "noise_multiplier" else "change it"
            raise PrivacyError(f"must be {bound}", name=name, value=value, remedy=remedy)


def _full_batch(mechanisms: Sequence[Mechanism]) -> bool:
    return all(mechanism.sample_rate == 1 for mechanism in mechanisms)


def _grouped(mechanisms: Sequence[Mechanism]) -> tuple[Group, ...]:
    """Adds up the steps of equal mechanisms: PRV merges only neighbours, and each group costs."""
    steps: dict[tuple[float, float], int] = {}
    for mechanism in mechanisms:
        check_mechanism(mechanism)
        if mechanism.steps:
            key = (float(mechanism.noise_multiplier), float(mechanism.sample_rate))
            steps[key] = steps.get(key, 0) + int(mechanism.steps)
    return tuple((noise, rate, n) for (noise, rate), n in sorted(steps.items()))


def _composed(
    accountant: Callable[[tuple[Group, ...], float, float], float],
    mechanisms: Sequence[Mechanism],
    delta: float,
    precision: float,
) -> float:
    """Checks the input, answers the cases without mathematics and translates library errors."""
    if not MIN_DELTA <= delta < 1:
        raise PrivacyError(
            f"must be at least {MIN_DELTA} and below 1",
            name="delta",
            value=delta,
            remedy="change it",
        )
    groups = _grouped(mechanisms)
    if not groups:
        return 0.0
    if any(noise == 0 for noise, _, _ in groups):
        return math.inf
    refuse_absurd(groups)
    try:
        # The accountants warn of overflow in tails; what counts is the number that they return.
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            epsilon = float(accountant(groups, delta, precision))
        if math.isnan(epsilon):  # max(0.0, NaN) is 0.0: it would read as perfect privacy
            raise ArithmeticError("no result")
        return max(0.0, epsilon)
    except (ArithmeticError, RuntimeError, ValueError) as error:
        raise UnboundedError(
            f"the accountant cannot bound {groups} (noise_multiplier, sample_rate, steps) at "
            f"delta={delta}: {error}",
            remedy="raise the noise or delta",
        ) from error


def refuse_absurd(groups: tuple[Group, ...]) -> None:
    """Keeps plans away from the accountants that protect nobody and would take them minutes.

    Raises:
        UnboundedError: Noise is below `MIN_NOISE`, or epsilon would be in the hundreds.
    """
    for noise, _, _ in groups:
        if noise < MIN_NOISE:
            raise UnboundedError(
                f"must be at least {MIN_NOISE}",
                name="noise_multiplier",
                value=noise,
                remedy="raise it",
            )
    total = sum(steps * (rate / noise) ** 2 for noise, rate, steps in groups)
    if total > MAX_MU_SQUARED:
        raise UnboundedError(
            f"sum of steps * (sample_rate / noise_multiplier)^2 = {total:.4g} must be at most "
            f"{MAX_MU_SQUARED:g} (epsilon in the hundreds)",
            remedy="raise the noise or take fewer steps",
        )


@lru_cache(maxsize=4096)
def _prv(groups: tuple[Group, ...], delta: float, eps_error: float) -> float:
    steps = sum(n for _, _, n in groups)
    if steps > MAX_SAMPLED_STEPS:
        raise PrivacyError(
            f"must be at most {MAX_SAMPLED_STEPS}",
            name="steps",
            value=steps,
            remedy="take fewer steps",
        )
    # Opacus brings torch, 300 MB: a node that waits asks for no sampled plan and needs neither.
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    # `step()` adds one step a call and merges it with the last group only; the history is what it
    # would leave. `get_epsilon` returns the upper bound of its error interval, not the estimate.
    accountant.history = list(groups)
    return float(accountant.get_epsilon(delta, eps_error=eps_error))


@lru_cache(maxsize=4096)
def _pld(groups: tuple[Group, ...], delta: float, grid: float) -> float:
    from dp_accounting.pld import PLDAccountant  # a second of imports

    # With sampling, adding and removing a user have different loss distributions; this relation
    # takes the worse of the two (https://arxiv.org/abs/2106.08567).
    accountant = PLDAccountant(dpa.NeighboringRelation.ADD_OR_REMOVE_ONE, grid)
    for noise, rate, steps in groups:
        gaussian = dpa.GaussianDpEvent(noise)
        # At rate 1 the library composes all steps into one Gaussian, with no convolution error.
        event = gaussian if rate == 1 else dpa.PoissonSampledDpEvent(rate, gaussian)
        accountant.compose(event, steps)
    return float(accountant.get_epsilon(delta))


@lru_cache(maxsize=4096)
def _gaussian(groups: tuple[Group, ...], delta: float, _: float) -> float:
    # mu of a Gaussian is sensitivity / sigma, here 1 / noise_multiplier; mu^2 adds up exactly.
    mu = math.sqrt(sum(steps / noise**2 for noise, _, steps in groups))
    return float(gaussian_mechanism.get_epsilon_gaussian(1 / mu, delta))
