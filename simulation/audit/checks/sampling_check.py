"""Is each user sampled by an own coin, as the accountant assumes of Poisson sampling."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from simulation.audit.checks.canaries import observe_training, step_spec
from simulation.audit.checks.result import Finding
from simulation.audit.checks.subject import Subject

SAMPLED_STEPS = 400
USERS_A_STEP = 10
"""Users of the audit's shop are so many that a step takes this many on average."""
MOST_USERS = 20_000
NOMINAL_RATE = 0.1
"""Rate at which the sampler is tested where the plan takes everyone."""
LARGEST_Z = 5.5
"""Deviations allowed: each of four tests fails on honest code about once in ten million runs."""

Taken = npt.NDArray[np.float64]


def check_poisson(subject: Subject) -> Finding:
    """Tests rate, spread of batch sizes, spread of users' shares, and repetition in the next step.

    Shuffled batches have too little spread in both and no repetition within a pass; batches of a
    fixed size have no spread of sizes; samples that are kept for several steps repeat too much.
    """
    claimed = subject.plan.sample_rate
    rate = claimed if claimed < 1 else NOMINAL_RATE
    n_users = min(math.ceil(USERS_A_STEP / rate), MOST_USERS)
    watched = observe_training(
        step_spec(subject, steps=SAMPLED_STEPS, sample_rate=rate, physical_batch=n_users),
        canary_of=np.arange(n_users) % 4,
        n_canaries=4,
        random=subject.noise("poisson", 0),
        device=subject.device,
    )
    if len(watched.users) != SAMPLED_STEPS:
        text = f"{SAMPLED_STEPS} steps were accounted, {len(watched.users)} took place"
        return Finding(False, text, {"asked": SAMPLED_STEPS, "seen": len(watched.users)})
    taken = np.zeros((SAMPLED_STEPS, n_users))
    for step, users in enumerate(watched.users):
        np.add.at(taken[step], users, 1)
    deviations = _deviations(taken, rate)
    figures = {"rate": rate, "users": n_users, "steps": SAMPLED_STEPS, "deviations": deviations}
    twice = int((taken > 1).sum())
    worst = max(deviations, key=lambda name: abs(deviations[name]))
    if twice:
        return Finding(False, f"{twice} times a user was in a step more than once", figures)
    if abs(deviations[worst]) > LARGEST_Z:
        text = f"{worst} is {deviations[worst]:+.1f} deviations from Poisson sampling"
        return Finding(False, text, figures)
    note = "" if claimed < 1 else ", tested although the plan takes everyone"
    return Finding(True, f"rate {rate:g} as claimed and independent{note}", figures)


def _deviations(taken: Taken, rate: float) -> dict[str, float]:
    """Standardised distance of four statistics from what independent coins give.

    Args:
        taken: 1 where a user was in a step, `(steps, n_users)`.
        rate: Claimed probability of a 1.
    """
    steps, users = taken.shape
    both = (taken[1:] * taken[:-1]).sum()
    pairs = (steps - 1) * rate**2 * (1 - rate**2) + 2 * (steps - 2) * (rate**3 - rate**4)
    return {
        "the rate": float(
            (taken.sum() - steps * users * rate) / math.sqrt(steps * users * rate * (1 - rate))
        ),
        "the spread of batch sizes": _spread(taken.sum(axis=1), users, rate),
        "the spread of users' shares": _spread(taken.sum(axis=0), steps, rate),
        "repetition in the next step": float(
            (both - users * (steps - 1) * rate**2) / math.sqrt(users * pairs)
        ),
    }


def _spread(counts: Taken, trials: int, rate: float) -> float:
    """Standardises the sum of squared deviations of binomial counts, by their fourth moment."""
    variance = trials * rate * (1 - rate)
    squares = np.square(counts - trials * rate) / variance
    kurtosis = 2 + (1 - 6 * rate * (1 - rate)) / variance
    return float((squares.sum() - len(counts)) / math.sqrt(len(counts) * kurtosis))
