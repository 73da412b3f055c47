"""The trade-off curve that a mechanism allows between the two errors of an attacker.

f(a) is the least false negative rate of any attacker whose false positive rate is a
(https://arxiv.org/abs/1905.02383). Full-batch Gaussian steps have a closed form; for Poisson
sampling the curve is the envelope of Google's privacy loss distribution over many epsilons.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import dp_accounting as dpa
import numpy as np
from dp_accounting.pld import PLDAccountant
from scipy.special import ndtr, ndtri

from shared.privacy.guarantee import Mechanism

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
