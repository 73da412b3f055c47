"""From scores to probabilities, inside the shop, by answers that the scores were not fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from client.uses.choice import MIN_UNITS, Fit, dealt, scores_left_out
from shared.uses.history import Floats
from shared.uses.interface import Examples, Use

_WEAK = 1e4
"""Inverse penalty: two numbers are fitted to many answers."""


@dataclass(frozen=True)
class Calibration:
    """A sigmoid of a score (Platt, Advances in Large Margin Classifiers, 1999).

    Attributes:
        slope: Above 0, so that the order of scores stays.
        offset: Log odds at score 0.
    """

    slope: float
    offset: float

    def probability(self, score: Floats) -> Floats:
        """Returns the share of such scores whose answer is 1, `(n,)`."""
        share: Floats = expit(self.slope * score + self.offset)
        return share


def calibrate(
    use: Use, examples: Examples, fit: Fit, *, rng: np.random.Generator
) -> Calibration | None:
    """Fits the sigmoid to scores of users whom the head was not fitted to.

    Args:
        use: The use.
        examples: The shop's own.
        fit: What is served.
        rng: Deals the users into folds.

    Returns:
        None where there are no answers of users to tell by (numbers, made-up questions, fewer than
        `MIN_UNITS` units, one answer for all) or where a higher score is not likelier: ranks
        alone are served then.
    """
    if use.label.kind != "binary" or use.outcome is None:
        return None
    units, place = np.unique(examples.table.unit, return_inverse=True)
    if len(units) < MIN_UNITS:
        return None
    score = scores_left_out(examples, fit, dealt(len(units), rng)[place])
    told = np.isfinite(score)
    score, label = score[told], examples.label[told]
    width = float(score.std()) if len(score) else 0.0
    if not width or len(np.unique(label)) < 2:
        return None
    model = LogisticRegression(C=_WEAK).fit((score / width)[:, None], label)
    slope = float(model.coef_[0, 0]) / width
    return Calibration(slope, float(model.intercept_[0])) if slope > 0 else None
