"""The largest norm that an honest shop's answer can have; what is above it was made up.

A shop clips each user and adds Gaussian noise of a known size, so its answer is at most (users of
the largest shop) contributions long, and the noise. No shop tells its number of users: the bound
goes by a public number, `federation.max_shop_users`.
"""

from __future__ import annotations

import math

from shared.plan import Plan
from shared.privacy.guarantee import COUNTS_MAX_NORM
from shared.releases.pairs import MAX_NORM as PAIRS_MAX_NORM

REFUSED_BY_CHANCE = 1e-9
"""Probability at most with which an honest answer is refused."""
ROUNDING = 1.001
"""Room for float32 (and bfloat16 on a GPU) where the bound is met exactly."""


def update_bound(plan: Plan, *, size: int, max_users: int) -> float | None:
    """Returns the bound of an update's L2 norm, None where single updates are not looked at.

    In units of `max_grad_norm` each of the `local_steps` sums at most `max_users` gradients of norm
    1 and noise with the standard deviation `noise_multiplier` in each coordinate; the step is the
    sum times `learning_rate / divisor`. The signals' norms add up; the noises of all steps are
    independent, so their sum is one Gaussian vector.

    Args:
        plan: The public plan.
        size: Trained numbers.
        max_users: Users that the largest shop may have.

    Assumes:
        Each user's gradient is clipped to `max_grad_norm`; noise is drawn anew each step.
    """
    if plan.noise_shops > 1:
        return None
    signal = plan.local_steps * float(max_users)
    noise = _noise_bound(plan.noise_multiplier * math.sqrt(plan.local_steps), size)
    return ROUNDING * plan.learning_rate / plan.divisor * (signal + noise)


def statistic_bound(plan: Plan, kind: str, *, size: int, max_users: int) -> float | None:
    """Returns the bound of `counts` or `pairs`, one release each; see `update_bound`."""
    if plan.noise_shops > 1:
        return None
    each, noise = {
        "counts": (COUNTS_MAX_NORM, plan.counts_noise_multiplier),
        "pairs": (PAIRS_MAX_NORM, plan.pairs_noise_multiplier),
    }[kind]
    return ROUNDING * each * (max_users + _noise_bound(noise, size))


def _noise_bound(std: float, size: int) -> float:
    """Bounds the norm of Gaussian noise `(size,)`, but for a probability of `REFUSED_BY_CHANCE`.

    The norm is a 1-Lipschitz function with mean at most sqrt(size), so it passes that by t standard
    deviations with probability exp(-t^2 / 2) at most (Boucheron, Lugosi and Massart 2013,
    theorem 5.6).
    """
    return std * (math.sqrt(size) + math.sqrt(-2.0 * math.log(REFUSED_BY_CHANCE)))
