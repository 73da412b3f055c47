"""A test that rejects a claimed Gaussian trade-off curve if the noise is short.

Samples with and without a canary are told apart by a threshold. A mu-GDP mechanism
(https://arxiv.org/abs/1905.02383) allows no threshold with
`ppf(true positive rate) - ppf(false positive rate) > mu`, whatever the noise looks like. The
threshold is chosen on one half of the samples; on the other half, Clopper-Pearson bounds say which
rates are certain. Nothing about the noise is assumed but that samples are independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, norm

Samples = npt.NDArray[np.float64]

CONFIDENCE = 0.98
"""Both rates lie within their bounds with at least this probability: false alarms are below 2%."""
CHOICE_CONFIDENCE = 1 - 1e-6
"""Bounds for choosing the threshold: so wide that no lucky tail wins."""
THRESHOLDS = 50
"""Thresholds among which one is chosen, and points of the measured curve."""


@dataclass(frozen=True)
class CurvePoint:
    """One threshold on the second half of the samples, with bounds at `CONFIDENCE`.

    Attributes:
        false_positive: Share of samples without a canary above the threshold.
        false_negative: Share of samples with one below it.
        false_positive_high: Upper bound of the first.
        false_negative_high: Upper bound of the second.
    """

    false_positive: float
    false_negative: float
    false_positive_high: float
    false_negative_high: float


@dataclass(frozen=True)
class Rejection:
    """The outcome.

    Attributes:
        rejected: Whether the claim is refuted.
        mu: What was claimed.
        mu_measured: Separation at the chosen threshold, by the measured rates.
        mu_low: The same by the bounds of the rates; the claim is refuted if it is above `mu`.
        threshold: Chosen on the first half.
        chosen: Rates at the threshold on the second half.
        curve: Rates at other thresholds, for a plot.
    """

    rejected: bool
    mu: float
    mu_measured: float
    mu_low: float
    threshold: float
    chosen: CurvePoint
    curve: tuple[CurvePoint, ...]


def reject_claim(absent: Samples, present: Samples, *, mu: float) -> Rejection:
    """Tests whether two samples can come from a mu-GDP mechanism.

    Args:
        absent: Scores of canaries that took no part, `(n,)`, independent.
        present: Scores of canaries that took part, `(n,)`, independent.
        mu: Claimed parameter: shift over standard deviation.

    Returns:
        `rejected` for a mu-GDP mechanism in less than 2% of repetitions.
    """
    both = np.concatenate([absent[::2], present[::2]])
    thresholds = np.quantile(both, np.linspace(0.02, 0.98, THRESHOLDS))
    _, _, choice = _rates(absent[::2], present[::2], thresholds, CHOICE_CONFIDENCE)
    threshold = float(thresholds[np.argmax(choice)])
    points, measured, low = _rates(
        absent[1::2], present[1::2], np.append(thresholds, threshold), CONFIDENCE
    )
    return Rejection(
        rejected=bool(low[-1] > mu),
        mu=mu,
        mu_measured=float(measured[-1]),
        mu_low=float(low[-1]),
        threshold=threshold,
        chosen=points[-1],
        curve=tuple(points[:-1]),
    )


def _rates(
    absent: Samples, present: Samples, thresholds: Samples, confidence: float
) -> tuple[list[CurvePoint], Samples, Samples]:
    """Returns the rates, the separation they show, and the separation that is certain."""
    positives = len(absent) - np.searchsorted(np.sort(absent), thresholds, side="right")
    negatives = np.searchsorted(np.sort(present), thresholds, side="right")
    fp_high = clopper_pearson_high(positives, len(absent), confidence)
    fn_high = clopper_pearson_high(negatives, len(present), confidence)
    fp, fn = positives / len(absent), negatives / len(present)
    points = [
        CurvePoint(*map(float, point)) for point in zip(fp, fn, fp_high, fn_high, strict=True)
    ]
    smallest = 0.5 / len(absent)
    measured = norm.isf(np.clip(fp, smallest, 1)) + norm.isf(np.clip(fn, smallest, 1))
    return points, measured, norm.isf(fp_high) + norm.isf(fn_high)


def clopper_pearson_high(hits: npt.NDArray[np.int64], n: int, confidence: float) -> Samples:
    """Bounds probabilities from above, each side of a pair missing `(1 - confidence) / 2`."""
    high: Samples = np.where(
        hits < n, beta.isf((1 - confidence) / 2, hits + 1, np.maximum(n - hits, 1)), 1.0
    )
    return high
