"""95% intervals over users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LEVEL = 0.95
Z_95 = 1.959963984540054
"""Standard deviations of a normal distribution on either side that hold 95% of it."""


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% interval."""

    mean: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """Returns plain values; None where nothing could be measured."""
        values = {"mean": self.mean, "low": self.low, "high": self.high}
        return {name: None if np.isnan(value) else value for name, value in values.items()}


def resample(n: int, draws: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draws how often each of `n` users enters each bootstrap sample.

    Returns:
        Multinomial counts `(draws, n)`, every row summing to `n`.
    """
    counts = np.empty((draws, n))
    block = max(1, _PICKS // max(n, 1))
    for start in range(0, draws, block):
        part = counts[start : start + block]
        picks = rng.integers(0, n, size=part.shape)
        picks += n * np.arange(len(part))[:, None]
        part[:] = np.bincount(picks.ravel(), minlength=part.size).reshape(part.shape)
    return counts


_PICKS = 200_000
"""Users that are drawn at once; their counts stay in a processor's cache."""


def bootstrap_means(
    values: npt.NDArray[np.float64], counts: npt.NDArray[np.float64]
) -> list[Interval]:
    """Percentile bootstrap of the means of several columns with the same resampled users.

    Args:
        values: One row a user, `(n, m)`; NaN where a user has no value for a column.
        counts: Output of `resample`, `(draws, n)`.

    Returns:
        One interval a column; NaN throughout for a column without any value
        (https://doi.org/10.1201/9780429246593).
    """
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        n_known = counts.sum(axis=1)[:, None]
        if not known.all():
            n_known = counts @ known.astype(np.float64)
        samples = (counts @ filled) / n_known
        means = filled.sum(axis=0) / known.sum(axis=0)
    tail = 100 * (1 - LEVEL) / 2
    intervals = []
    for mean, column in zip(means, samples.T, strict=True):
        drawn = column[~np.isnan(column)]
        low, high = np.percentile(drawn, [tail, 100 - tail]) if len(drawn) else (np.nan, np.nan)
        intervals.append(Interval(float(mean), float(low), float(high)))
    return intervals


def coverage(shown: npt.NDArray[np.int64], n_candidates: int) -> Interval:
    """Share of the candidates that at least one user is shown, with a jackknife interval.

    A bootstrap sample leaves out about 37% of the users and with them what only they are shown,
    so all its coverages lie below the measured one. Leaving out one user at a time does not.

    Args:
        shown: Candidate of each place of all users' rankings, `(n_users, k)`; negative where empty.
            Candidates of different shops need different numbers.
        n_candidates: Candidates in all.

    Returns:
        Coverage, and coverage plus and minus 1.96 jackknife standard errors, within [0, 1].
    """
    n = len(shown)
    if n == 0 or n_candidates == 0:
        return Interval(np.nan, np.nan, np.nan)
    users = np.repeat(np.arange(n), shown.shape[1])[shown.ravel() >= 0]
    items, times = np.unique(shown[shown >= 0], return_counts=True)
    once = times[np.searchsorted(items, shown[shown >= 0])] == 1
    lost = np.bincount(users[once], minlength=n)
    mean = len(items) / n_candidates
    without = (len(items) - lost) / n_candidates
    error = np.sqrt((n - 1) / n * np.square(without - without.mean()).sum())
    return Interval(mean, max(0.0, mean - Z_95 * error), min(1.0, mean + Z_95 * error))
