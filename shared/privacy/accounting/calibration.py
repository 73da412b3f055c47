"""The noise that keeps a whole plan within (epsilon, delta), found before the first step."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from dp_accounting.gaussian_mechanism import get_sigma_gaussian
from scipy.optimize import brentq

from shared.errors import PrivacyError
from shared.privacy.accounting.accountants import (
    MIN_DELTA,
    MIN_NOISE,
    epsilon_gaussian,
    epsilon_pair,
    epsilon_pld,
)
from shared.privacy.accounting.guarantee import Mechanism, MechanismName
from shared.privacy.noise import GRID

MIN_EPSILON = 0.05
"""The accountants' numerical errors are a few thousandths: below this they would dominate."""
MAX_EPSILON = 50.0
"""Far beyond any protection; the accountants overflow somewhere above."""
USERS_A_DELTA = 10
"""Times the stated users that one over delta must be at least: what delta allows to go wrong, a
user published outright, happens to less than a tenth of one user."""
SLACK = 1e-3
"""Share of epsilon that calibration may leave unused."""

Build = Callable[[float], tuple[Mechanism, ...]]
"""From the noise that is looked for to the plan's mechanisms."""


@lru_cache(maxsize=256)
def calibrate(
    *,
    epsilon: float,
    delta: float,
    steps: int,
    sample_rate: float,
    max_grad_norm: float,
    counts_share: float,
    pairs_share: float,
    adapter_share: float,
    counts_max_norm: float,
    pairs_max_norm: float,
) -> tuple[Mechanism, ...]:
    """Finds the least noise that both accountants accept for the whole plan.

    Args:
        epsilon: Total epsilon of one shop.
        delta: Total delta of one shop.
        steps: DP-SGD steps over all rounds; not looked at where `adapter_share` is 0.
        sample_rate: Poisson rate of a user a step; 1 is the full batch.
        max_grad_norm: L2 bound of a user's gradient in a step.
        counts_share: Share of mu^2 for one release of item counts, where mu is that of a Gaussian
            mechanism at (epsilon, delta); 0 releases none.
        pairs_share: The same for one release of pair sums.
        adapter_share: The same for training; 0 trains nothing. The three shares add up to 1.
        counts_max_norm: L2 bound of a user's row in the item counts.
        pairs_max_norm: L2 bound of a user's pairs.

    Returns:
        `dp-sgd`, `item-counts` and `pair-sums`, each unless its share is 0. Noise multipliers are
        rounded up to five digits. That of DP-SGD, or without training all of them together, leaves
        at most a thousandth of epsilon unused, unless it is at its least, 0.1.

    Guarantee:
        Both accountants of `epsilon_pair` stay at or below `epsilon` for the composition.

    Assumes:
        The plan is fixed before the first step and no result changes it.

    Raises:
        PrivacyError: Epsilon, delta or a parameter is out of bounds, or epsilon is out of reach.
    """
    check_epsilon(epsilon)
    check_delta(delta)
    check_shares(counts=counts_share, pairs=pairs_share, adapter=adapter_share)
    single = get_sigma_gaussian(epsilon, delta)

    def statistics(sigma: float) -> tuple[Mechanism, ...]:
        parts: tuple[tuple[MechanismName, float, float], ...] = (
            ("item-counts", counts_share, counts_max_norm),
            ("pair-sums", pairs_share, pairs_max_norm),
        )
        return tuple(
            Mechanism(name, round_up(sigma / math.sqrt(share)), 1.0, 1, norm, grid=GRID)
            for name, share, norm in parts
            if share > 0
        )

    if adapter_share == 0:
        return statistics(_least_noise(statistics, epsilon=epsilon, delta=delta, start=single))
    if steps < 1:
        raise PrivacyError("must be at least 1", name="steps", value=steps, remedy="change it")
    # Full-batch Gaussians add up in mu^2, so noise `single / sqrt(share)` takes that share of the
    # whole exactly. Sampled DP-SGD has no such rule: its noise is searched with these fixed.
    fixed = statistics(single)

    def build(noise_multiplier: float) -> tuple[Mechanism, ...]:
        training = Mechanism(
            "dp-sgd", noise_multiplier, sample_rate, steps, max_grad_norm, grid=GRID
        )
        return (training, *fixed)

    # Noise of DP-SGD without sampling, which amplification only lowers: a bracket starts here.
    unsampled = single * math.sqrt(steps / adapter_share)
    return build(_least_noise(build, epsilon=epsilon, delta=delta, start=unsampled))


def check_shares(*, counts: float, pairs: float, adapter: float) -> None:
    """Refuses a split of the budget that is not whole.

    Raises:
        PrivacyError: A share is negative, or they do not add up to 1.
    """
    for name, share in (("counts", counts), ("pairs", pairs), ("adapter", adapter)):
        if not 0 <= share <= 1:
            raise PrivacyError(
                f"{name}_share={share} must be in [0, 1]", remedy="change it with --budget"
            )
    total = counts + pairs + adapter
    if abs(total - 1) > 1e-9:
        raise PrivacyError(
            f"counts_share={counts:g} + pairs_share={pairs:g} + adapter_share={adapter:g} = "
            f"{total:g} must be 1",
            remedy="change the split with --budget counts=0.2,pairs=0.6,adapter=0.2",
        )


def check_epsilon(epsilon: float) -> None:
    """Refuses an epsilon that cannot be accounted for.

    Raises:
        PrivacyError: `epsilon` is not in [0.05, 50].
    """
    if not MIN_EPSILON <= epsilon <= MAX_EPSILON:
        raise PrivacyError(
            f"must be between {MIN_EPSILON} and {MAX_EPSILON:g}",
            name="epsilon",
            value=epsilon,
            remedy="change it with --epsilon, or compare without privacy with --no-privacy",
        )


def largest_delta(max_users: int) -> float:
    """Returns the largest delta for a shop that may have `max_users` users: a tenth of one user."""
    return 1 / (USERS_A_DELTA * max_users)


def check_delta(
    delta: float, max_users: int | None = None, *, users_name: str = "max_users"
) -> None:
    """Refuses a delta that would allow to publish a user outright.

    Args:
        delta: Total delta of the shop.
        max_users: Users that the shop may have at most, a public number; None checks the general
            bounds alone. Never the number of users that it has: whether a shop answers would then
            tell whether one more user is there.
        users_name: The setting that states them.

    Raises:
        PrivacyError: `delta` is not in [1e-10, 1), or above 1 / (10 max_users).
    """
    if not MIN_DELTA <= delta < 1:
        raise PrivacyError(
            f"must be at least {MIN_DELTA} and below 1",
            name="delta",
            value=delta,
            remedy="change it with --delta",
        )
    # A millionth more, or 1/30,000 as somebody writes it is refused for its last digit.
    if max_users is not None and delta > largest_delta(max_users) * (1 + 1e-6):
        raise PrivacyError(
            f"must be at most {largest_delta(max_users):.3g}, one over ten times "
            f"{users_name}={max_users}",
            name="delta",
            value=delta,
            remedy="lower it with --delta, or state fewer users with "
            f"--{users_name.replace('_', '-')}",
        )


def round_up(value: float) -> float:
    """Rounds a positive number up to five significant digits."""
    # Never down: plans are written with five digits, and what is written must pay for itself.
    # 1e-9 keeps a value that has five digits already from the next one through binary rounding.
    unit = 10.0 ** (math.floor(math.log10(value)) - 4)
    return float(f"{math.ceil(value / unit - 1e-9) * unit:.5g}")


def _least_noise(build: Build, *, epsilon: float, delta: float, start: float) -> float:
    """Solves a fast accountant for epsilon and corrects by what the slow ones add to it."""
    full_batch = build(start)[0].sample_rate == 1

    def fast(noise_multiplier: float) -> float:
        mechanisms = build(noise_multiplier)
        if full_batch:
            return epsilon_gaussian(mechanisms, delta)
        return epsilon_pld(mechanisms, delta, grid=1e-3)

    # Both accountants at full precision take seconds, a coarse PLD a tenth of that: the root is
    # found with the latter, and the target is moved by how far the former are above it.
    target, noise = epsilon * (1 - SLACK / 4), start
    for _ in range(6):
        noise = round_up(_solve(fast, target=target, start=noise))
        actual = max(epsilon_pair(build(noise), delta))
        used = actual >= epsilon * (1 - SLACK) or noise == MIN_NOISE
        if used and actual <= epsilon:
            return noise
        target = fast(noise) + epsilon - actual - epsilon * SLACK / 4
        if target <= 0:
            break
    raise PrivacyError(
        f"epsilon={epsilon} at delta={delta} is out of reach for {build(noise)[0].steps} steps",
        remedy="raise --epsilon or take fewer steps",
    )


def _solve(function: Callable[[float], float], *, target: float, start: float) -> float:
    """Finds where a falling function of the noise equals `target`, to 1e-5, from `MIN_NOISE` up."""
    low = high = start
    while function(high) > target:
        low, high = high, high * 1.5
    while function(low) < target:
        if low == MIN_NOISE:
            return low
        low, high = max(low / 1.5, MIN_NOISE), low
    if low == high:
        return start
    # In the logarithm, a tolerance is relative: noise may be 0.1 or several hundred.
    root = brentq(
        lambda x: function(math.exp(x)) - target, math.log(low), math.log(high), xtol=1e-5
    )
    return math.exp(root)
