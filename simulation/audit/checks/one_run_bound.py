"""Lower bounds for epsilon from one training run with many canaries.

The audit of a throw-away model by them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import dp_accounting as dpa
import numpy as np
import numpy.typing as npt
from dp_accounting.pld import PLDAccountant
from scipy.optimize import brentq
from scipy.special import expit, ndtr, ndtri
from scipy.stats import binom

from shared.errors import PrivacyError
from shared.privacy.accounting.accountants import epsilon_pair
from shared.privacy.accounting.guarantee import Mechanism
from simulation.audit.checks.canaries import observe_training, step_spec
from simulation.audit.checks.result import Finding
from simulation.audit.checks.subject import Subject

TradeOff = Callable[[float], float]
"""From a false positive rate to the least false negative rate."""

_EPSILONS = np.concatenate([np.linspace(0, 2, 81), np.linspace(2.1, 20, 180)])
"""Where the envelope is taken; lines between them only lower the curve, so it stays valid."""


def trade_off(mechanism: Mechanism) -> TradeOff:
    """Returns the trade-off curve of all steps of a mechanism together.

    Args:
        mechanism: With noise above 0.

    Returns:
        The exact curve for the full batch; for Poisson sampling a curve that is at most the exact
        one, which PLD bounds from below.
    """
    if mechanism.sample_rate == 1:
        return gaussian(math.sqrt(mechanism.steps) / mechanism.noise_multiplier)
    return _envelope(mechanism)


def scaled(mechanism: Mechanism, factor: float) -> Mechanism:
    """Returns the mechanism with `factor` times the noise."""
    return replace(mechanism, noise_multiplier=mechanism.noise_multiplier * factor)


def gaussian(mu: float) -> TradeOff:
    """Returns the curve of a unit-variance Gaussian that is shifted by `mu`."""

    def curve(false_positive: float) -> float:
        return float(ndtr(-ndtri(false_positive) - mu))

    return curve


def _envelope(mechanism: Mechanism) -> TradeOff:
    accountant = PLDAccountant(dpa.NeighboringRelation.ADD_OR_REMOVE_ONE, 1e-3)
    step = dpa.PoissonSampledDpEvent(
        mechanism.sample_rate, dpa.GaussianDpEvent(mechanism.noise_multiplier)
    )
    accountant.compose(step, mechanism.steps)
    deltas = np.array([accountant.get_delta(float(epsilon)) for epsilon in _EPSILONS])
    growth = np.exp(_EPSILONS)

    def curve(false_positive: float) -> float:
        steep = 1 - deltas - growth * false_positive
        flat = (1 - deltas - false_positive) / growth
        return float(max(0.0, steep.max(), flat.max()))

    return curve


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


MOST_STEPS = 1_000
"""Steps at most; a lower bound for the first steps of a plan is one for all of it."""


def check_one_run(subject: Subject) -> Finding:
    """Trains once on canaries that take part by a coin, guesses the coins, and bounds epsilon.

    Fails if the bound is above the epsilon that is claimed for the training steps.
    """
    training = subject.training
    if training is None:
        return Finding(True, "the plan trains nothing", {})
    steps = min(training.steps, MOST_STEPS)
    mechanism = replace(training, steps=steps, noise_multiplier=training.own_noise_multiplier)
    try:
        claimed = epsilon_pair((mechanism,), subject.delta)[0]
    except PrivacyError:
        return Finding(True, "one shop's share of the noise is too little to bound epsilon", {})
    m = subject.one_run_canaries
    took_part = subject.choice("one-run").random(m) < 0.5
    watched = observe_training(
        step_spec(subject, steps=steps),
        canary_of=np.flatnonzero(took_part),
        n_canaries=m,
        random=subject.noise("one-run", 0),
        device=subject.device,
    )
    guesses, correct = count_correct(watched.scores.sum(axis=0), took_part)
    low, factor = epsilon_low_f_dp(m, guesses, correct, mechanism=mechanism, delta=subject.delta)
    plain = epsilon_low_steinke(m, guesses, correct, subject.delta)
    figures = {
        "epsilon_claimed": claimed,
        "epsilon_low": low,
        "epsilon_low_steinke": plain,
        "noise_factor_refuted": factor,
        "canaries": m,
        "guesses": guesses,
        "correct": correct,
        "steps": steps,
        "confidence": 0.95,
    }
    of = " for one share of the noise" if training.shared_by > 1 else ""
    bound = f"epsilon is at least {low:.2f} of {claimed:.2f} claimed{of}"
    text = f"{bound} ({plain:.2f} by Steinke et al.)"
    return Finding(max(low, plain) <= claimed + 0.01, text, figures)
