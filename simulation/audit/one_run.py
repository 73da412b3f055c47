"""Lower bounds for epsilon from one training run with many canaries.

Each canary takes part by a fair coin. Afterwards the auditor guesses the coins of the canaries
whose scores say most, and bounds how many right guesses a private mechanism allows: Steinke, Nasr
and Jagielski (https://arxiv.org/abs/2305.08846) for (epsilon, delta), Mahloujifar, Melis and
Chaudhuri (https://arxiv.org/abs/2410.22235) for a whole trade-off curve, which gives far more.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import binom

from shared.errors import PrivacyError
from shared.privacy.accounting import epsilon_pair
from shared.privacy.guarantee import Mechanism
from simulation.audit.tradeoff import TradeOff, scaled, trade_off

GUESSED = 0.2
"""Share of canaries that are guessed; fixed before any score is seen, good for epsilon 1 to 8."""
SIGNIFICANCE = 0.05
"""Probability that a bound is above the true epsilon."""
LARGEST = 30.0
"""Largest epsilon that is looked at."""
NOISE_RANGE = (1 / 64, 64.0)
"""Factors on the claimed noise among which the f-DP bound looks."""


def count_correct(
    scores: npt.NDArray[np.float64], took_part: npt.NDArray[np.bool_]
) -> tuple[int, int]:
    """Guesses the coins of the most telling canaries.

    Args:
        scores: 1 for a canary that took part and 0 for one that did not, plus noise, `(m,)`.
        took_part: The coins, `(m,)`.

    Returns:
        Guesses, and how many of them are right. As many guesses say yes as say no.
    """
    half = max(1, round(GUESSED * len(scores) / 2))
    order = np.argsort(scores)
    correct = took_part[order[-half:]].sum() + (~took_part[order[:half]]).sum()
    return 2 * half, int(correct)


def epsilon_low_steinke(canaries: int, guesses: int, correct: int, delta: float) -> float:
    """Returns the largest epsilon that (epsilon, delta)-DP would refute, by Steinke et al.

    Args:
        canaries: Fair coins in all.
        guesses: Coins that were guessed.
        correct: Guesses that were right.
        delta: Delta of the claim.

    Returns:
        A lower bound of epsilon at 95% confidence; 0 if nothing is refuted.
    """

    def surplus(epsilon: float) -> float:
        return _probability(canaries, guesses, correct, epsilon, delta) - SIGNIFICANCE

    if surplus(0.0) >= 0 or correct == 0:
        return 0.0
    if surplus(LARGEST) < 0:
        return LARGEST
    return float(brentq(surplus, 0.0, LARGEST, xtol=1e-4))


def _probability(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Bounds the probability of at least `correct` right guesses (theorem 5.2, appendix D)."""
    right = float(expit(epsilon))
    tail = float(binom.sf(correct - 1, guesses, right))
    fewer = np.arange(1, correct + 1)
    mass = np.cumsum(binom.pmf(correct - fewer, guesses, right))
    return min(1.0, tail + 2 * canaries * delta * float(np.max(mass / fewer, initial=0.0)))


def epsilon_low_f_dp(
    canaries: int, guesses: int, correct: int, *, mechanism: Mechanism, delta: float
) -> tuple[float, float]:
    """Returns the largest epsilon that is refuted among plans with other noise.

    The claimed plan is tested with more and more noise than it claims until its trade-off curve is
    refuted; the plan at that point has the returned epsilon. A bound in this family: it takes the
    plan's form (Gaussian noise, sampling, steps) for granted, and asks how much noise there is.

    Args:
        canaries: Fair coins in all.
        guesses: Coins that were guessed.
        correct: Guesses that were right.
        mechanism: The steps that the canaries went through, as claimed.
        delta: Delta of the claim.

    Returns:
        `(epsilon, factor)`: the bound at 95% confidence, 0 if nothing is refuted, and the factor
        on the claimed noise at which it is.
    """

    def refuted(log_factor: float) -> bool:
        curve = trade_off(scaled(mechanism, math.exp(log_factor)))
        return not is_possible(curve, canaries=canaries, guesses=guesses, correct=correct)

    low, high = (math.log(factor) for factor in NOISE_RANGE)
    if not refuted(high):
        return 0.0, math.exp(high)
    while high - low > 0.005:
        middle = (low + high) / 2
        low, high = (low, middle) if refuted(middle) else (middle, high)
    try:
        return epsilon_pair((scaled(mechanism, math.exp(high)),), delta)[0], math.exp(high)
    except PrivacyError:
        return LARGEST, math.exp(high)  # less noise than any accountant takes


def is_possible(curve: TradeOff, *, canaries: int, guesses: int, correct: int) -> bool:
    """Says whether so many right guesses have a probability of at least 5% under a curve.

    Algorithm 3 of Mahloujifar et al.: from the claimed tail downwards, `right` and `wrong` bound
    the mass of outcomes with at least i right guesses in which a given canary is guessed right, or
    wrong.
    """
    right = SIGNIFICANCE * correct / canaries
    wrong = SIGNIFICANCE * (guesses - correct) / canaries
    for i in range(correct - 1, -1, -1):
        least = max(wrong, curve(1 - right))
        right += i / (guesses - i) * (least - wrong)
        wrong = least
        if right + wrong > guesses / canaries:
            return False
    return True
