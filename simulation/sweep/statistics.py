"""What can be said of differences between methods: paired bootstrap over users within shops.

Pure functions on arrays. Users are what would differ in a repetition, so users are drawn; the shops
are taken as given, and each keeps its number of users in every draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.metrics.bootstrap import LEVEL, resample

Values = npt.NDArray[np.float64]
DRAWS = 10_000
"""Bootstrap draws: the smallest p is 2 / (DRAWS + 1), which Holm multiplies by the comparisons."""
_CELLS = 4_000_000
"""Counts in memory at once."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """Means of several columns over all users, as measured and in every bootstrap draw.

    Attributes:
        means: `(m,)`.
        draws: `(draws, m)`; the columns share the users of each draw.
        shop_means: Of each shop, `(shops, m)`.
        shop_draws: `(shops, draws, m)`.
    """

    means: Values
    draws: Values
    shop_means: Values
    shop_draws: Values


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95% percentile interval."""

    mean: float
    low: float
    high: float

    @property
    def contains_zero(self) -> bool:
        """Whether the interval includes 0."""
        return self.low <= 0 <= self.high


def bootstrap_by_shop(
    shops: Sequence[Values], *, draws: int = DRAWS, rng: np.random.Generator
) -> Drawn:
    """Draws users with replacement within each shop.

    Args:
        shops: One row a user and one column a method, `(n_users, m)`, for each shop.
        draws: Bootstrap draws.
        rng: Source of the resampling.

    Returns:
        Means over the users of all shops together, and of each shop.

    Raises:
        ValueError: There is no shop, or one without users.
    """
    if not shops or any(len(values) == 0 for values in shops):
        raise ValueError("shops=0 or users=0 in a shop must be at least 1; leave empty shops out")
    sizes = np.array([len(values) for values in shops], dtype=np.float64)
    shop_means = np.stack([values.mean(axis=0) for values in shops])
    shop_draws = np.stack([_drawn_means(values, draws, rng) for values in shops])
    share = sizes / sizes.sum()
    return Drawn(
        means=share @ shop_means,
        draws=np.tensordot(share, shop_draws, axes=1),
        shop_means=shop_means,
        shop_draws=shop_draws,
    )


def estimate(mean: float, draws: Values) -> Estimate:
    """Puts the percentile interval of the draws `(draws,)` around a mean."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Estimate(float(mean), float(low), float(high))


def two_sided_p(draws: Values) -> float:
    """Returns the two-sided bootstrap p-value of "the mean is 0" from draws of the mean.

    Twice the share of draws on the smaller side of 0, the measured sample counted as one more draw
    (https://doi.org/10.1201/9780429246593, section 15.4); draws of exactly 0 are on both sides.
    """
    smaller = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (smaller + 1) / (len(draws) + 1))


def least_p(unequal: int) -> float:
    """Returns the smallest two-sided p that so many users who differ can show, by a sign test.

    A bootstrap of few users is overconfident: one user is the same in every draw.
    """
    return min(1.0, 2.0 ** (1 - unequal))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values for there being several (Holm 1979, https://www.jstor.org/stable/4615733).

    Returns:
        In the given order; calling those below .05 significant errs at all in at most 5% of
        repetitions, whatever their dependence.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[i])
        adjusted[i] = min(1.0, largest)
    return adjusted


def ratio(over: tuple[float, Values], under: tuple[float, Values]) -> Estimate | None:
    """Estimates a ratio of two means from their draws.

    Args:
        over: Mean and draws `(draws,)` of the numerator.
        under: The same of the denominator, drawn with the same users.

    Returns:
        The ratio of the means and the percentile interval of the draws' ratios; None where the
        denominator's own interval includes 0, so that the ratio has no meaning.
    """
    if estimate(*under).contains_zero:
        return None
    known = under[1] != 0
    return estimate(over[0] / under[0], over[1][known] / under[1][known])


def _drawn_means(values: Values, draws: int, rng: np.random.Generator) -> Values:
    """Means of one shop's columns in every draw, `(draws, m)`."""
    n = len(values)
    block = max(1, min(draws, _CELLS // n))
    parts = [
        resample(n, min(block, draws - start), rng) @ values / n for start in range(0, draws, block)
    ]
    return np.concatenate(parts)
