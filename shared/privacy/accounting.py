"""Epsilon of a plan that was fixed in advance, by three library accountants that must agree.

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

import dp_accounting as dpa
import numpy as np
from dp_accounting import gaussian_mechanism
from dp_accounting.pld import PLDAccountant
from opacus.accountants import PRVAccountant

from shared.errors import PrivacyError
from shared.privacy.guarantee import Guarantee, Mechanism

PRV = "Opacus PRV"
PLD = "dp-accounting PLD"
GAUSSIAN = "exact Gaussian (Balle and Wang 2018, dp-accounting)"
UNIT = "user: the whole bounded history of one user"
ADJACENCY = "add or remove one user"
TRUST = "server, other shops and outsiders; the shop's own machine is trusted"

TRUST_SHARED = (
    "holds for the sum of all shops' releases: it assumes secure aggregation, that shops add their "
    "noise honestly, and that none drops out"
)

KNOWN_MECHANISMS = frozenset({"dp-sgd", "item-counts", "pair-sums"})
MIN_DELTA = 1e-10
"""Below this, rounding errors of the accountants' Fourier transforms are no longer negligible."""
MAX_SAMPLED_STEPS = 100_000
"""Above this, the PRV accountant needs gigabytes."""
MIN_NOISE = 0.1
"""Below this, a single step has losses in the hundreds, and the accountants take minutes."""
MAX_MU_SQUARED = 400.0
"""Above this sum of steps * (sample_rate / noise_multiplier)^2, epsilon is in the hundreds."""

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
                "Gaussian accountant; use epsilon_prv"
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


def guarantee(mechanisms: Sequence[Mechanism], *, delta: float) -> Guarantee:
    """States what one user of a shop gets for everything in `mechanisms` together.

    For a user of several shops, pass the mechanisms of all of them.

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
            "noise_multiplier=0 gives no guarantee: epsilon is infinite; set an epsilon, or state "
            "that the run is not private"
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


def trust(mechanisms: Sequence[Mechanism]) -> str:
    """Says against whom the guarantee of these mechanisms holds, and what it assumes."""
    return TRUST_SHARED if any(m.shared_by > 1 for m in mechanisms) else TRUST


def require_agreement(epsilon: float, other: float, name: str) -> None:
    """Refuses two epsilons of one plan that differ by more than 0.005 + 0.5%.

    Raises:
        PrivacyError: They do.
    """
    if not abs(epsilon - other) <= 0.005 + 0.005 * epsilon:
        raise PrivacyError(
            f"epsilon={epsilon:.5f} and epsilon={other:.5f} ({name}) differ by more than 0.005 + "
            "0.5%; do not release, and report the plan as a defect of the accounting"
        )


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
            f"mechanism={mechanism.name!r} is not known to the accountant; known are "
            f"{', '.join(sorted(KNOWN_MECHANISMS))}"
        )
    noise, rate, steps = mechanism.noise_multiplier, mechanism.sample_rate, mechanism.steps
    if not (noise >= 0 and math.isfinite(noise)):
        raise PrivacyError(f"noise_multiplier={noise} must be finite and not negative; raise it")
    if not 0 < rate <= 1:
        raise PrivacyError(f"sample_rate={rate} must be above 0 and at most 1; change it")
    if steps != int(steps) or steps < 0:
        raise PrivacyError(f"steps={steps} must be a whole number of at least 0; change it")
    if mechanism.shared_by != int(mechanism.shared_by) or mechanism.shared_by < 1:
        raise PrivacyError(
            f"shared_by={mechanism.shared_by} must be a whole number of at least 1; change it"
        )


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
        raise PrivacyError(f"delta={delta} must be at least {MIN_DELTA} and below 1; change it")
    groups = _grouped(mechanisms)
    if not groups:
        return 0.0
    if any(noise == 0 for noise, _, _ in groups):
        return math.inf
    _refuse_absurd(groups)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return max(0.0, float(accountant(groups, delta, precision)))
    except (ArithmeticError, RuntimeError, ValueError) as error:
        raise PrivacyError(
            f"the accountant cannot bound {groups} (noise_multiplier, sample_rate, steps) at "
            f"delta={delta}: {error}; raise the noise or delta"
        ) from error


def _refuse_absurd(groups: tuple[Group, ...]) -> None:
    """Keeps plans away from the accountants that protect nobody and would take them minutes."""
    for noise, _, _ in groups:
        if noise < MIN_NOISE:
            raise PrivacyError(f"noise_multiplier={noise} must be at least {MIN_NOISE}; raise it")
    total = sum(steps * (rate / noise) ** 2 for noise, rate, steps in groups)
    if total > MAX_MU_SQUARED:
        raise PrivacyError(
            f"sum of steps * (sample_rate / noise_multiplier)^2 = {total:.4g} must be at most "
            f"{MAX_MU_SQUARED:g} (epsilon in the hundreds); raise the noise or take fewer steps"
        )


@lru_cache(maxsize=4096)
def _prv(groups: tuple[Group, ...], delta: float, eps_error: float) -> float:
    steps = sum(n for _, _, n in groups)
    if steps > MAX_SAMPLED_STEPS:
        raise PrivacyError(f"steps={steps} must be at most {MAX_SAMPLED_STEPS}; take fewer steps")
    accountant = PRVAccountant()
    accountant.history = list(groups)
    return float(accountant.get_epsilon(delta, eps_error=eps_error))


@lru_cache(maxsize=4096)
def _pld(groups: tuple[Group, ...], delta: float, grid: float) -> float:
    accountant = PLDAccountant(dpa.NeighboringRelation.ADD_OR_REMOVE_ONE, grid)
    for noise, rate, steps in groups:
        gaussian = dpa.GaussianDpEvent(noise)
        event = gaussian if rate == 1 else dpa.PoissonSampledDpEvent(rate, gaussian)
        accountant.compose(event, steps)
    return float(accountant.get_epsilon(delta))


@lru_cache(maxsize=4096)
def _gaussian(groups: tuple[Group, ...], delta: float, _: float) -> float:
    mu = math.sqrt(sum(steps / noise**2 for noise, _, steps in groups))
    return float(gaussian_mechanism.get_epsilon_gaussian(1 / mu, delta))
