"""What can be said of differences between methods.

Paired bootstrap over the users within shops, and its verdicts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.metrics.bootstrap import LEVEL, resample
from simulation.evaluation.evaluate import EvaluationResult
from simulation.evaluation.measures import METRICS, Ranking
from simulation.evaluation.shop import named
from simulation.reporting.records import Interval, Noise, Verdict, kind_name, surface_name

Values = npt.NDArray[np.float64]
MeanAndDraws = tuple[float, Values]
"""A mean and its draws `(draws,)`."""
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


def interval_of(estimate: MeanAndDraws) -> Interval:
    """Puts the percentile interval of the draws around a mean."""
    mean, draws = estimate
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Interval(mean=float(mean), low=float(low), high=float(high))


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


def difference_p(draws: Values, *, unequal: int) -> float:
    """Returns the p-value of a difference: the bootstrap's, and no less than a sign test can show.

    Args:
        draws: Draws of the mean difference, `(draws,)`.
        unequal: Users whose difference is not 0.
    """
    return max(two_sided_p(draws), least_p(unequal))


def gain_p(
    over_local: MeanAndDraws,
    over_placebo: MeanAndDraws | None,
    *,
    unequal: int,
    unequal_to_placebo: int,
) -> float:
    """Returns the p-value of a gain, judged by the harder of two comparisons.

    A gain is one only where it is above best local *and* above the placebo, so that its p-value is
    the larger of the two (an intersection-union test, https://doi.org/10.2307/2288298, which needs
    no correction). A loss against best local is a loss whatever the placebo does; a system that is
    above best local and not above the placebo is no better.

    Args:
        over_local: Mean and draws of the gain over best local.
        over_placebo: The same over the placebo; None where it was not measured.
        unequal: Users whose value differs from that of best local.
        unequal_to_placebo: Users whose value differs from that of the placebo.
    """
    p = difference_p(over_local[1], unequal=unequal)
    if over_placebo is None or over_local[0] <= 0:
        return p
    if over_placebo[0] <= 0:
        return 1.0
    return max(p, difference_p(over_placebo[1], unequal=unequal_to_placebo))


def judged_mean(gain: Interval, over_placebo: Interval | None) -> float:
    """Returns the mean gain by whose sign words judge, as `gain_p` does."""
    if over_placebo is None or gain.mean <= 0:
        return gain.mean
    return min(gain.mean, over_placebo.mean)


def primary_name(surface: str, epsilon: float | None, noise: Noise | None) -> str:
    """Names the comparison that is judged by itself."""
    return f"{surface_name(surface)} at {kind_name(epsilon, noise)}"


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


def ratio(over: MeanAndDraws, under: MeanAndDraws) -> Interval | None:
    """Estimates a ratio of two means from their draws.

    Args:
        over: Mean and draws `(draws,)` of the numerator.
        under: The same of the denominator, drawn with the same users.

    Returns:
        The ratio of the means and the percentile interval of the draws' ratios; None where the
        denominator's own interval includes 0, so that the ratio has no meaning.
    """
    if interval_of(under).contains_zero:
        return None
    known = under[1] != 0
    return interval_of((over[0] / under[0], over[1][known] / under[1][known]))


def _drawn_means(values: Values, draws: int, rng: np.random.Generator) -> Values:
    """Means of one shop's columns in every draw, `(draws, m)`."""
    n = len(values)
    block = max(1, min(draws, _CELLS // n))
    parts = [
        resample(n, min(block, draws - start), rng) @ values / n for start in range(0, draws, block)
    ]
    return np.concatenate(parts)


Methods = Mapping[str, Sequence[str]]
"""Name of a column -> the methods whose values are averaged in it, one a seed."""
NDCG = METRICS.index("ndcg@10")


def methods_of(group: Sequence[str], method: str) -> list[str]:
    """Returns the evaluation's names of `fused` or `global` for the models of a group."""
    return [named(method, model) for model in group]


def user_values(
    result: EvaluationResult, surface: str, columns: Methods
) -> dict[str, dict[str, Values]]:
    """Reads one surface.

    Args:
        result: The evaluation.
        surface: The surface.
        columns: What to read; several methods are averaged user by user.

    Returns:
        Shop -> column -> one value a user `(n_users,)`, the same users in the same order in every
        column of a shop. Shops without the surface are left out, and columns that a shop lacks.
    """
    by_shop = {}
    for shop in result.shops:
        rankings = shop.rankings.get(surface, {})
        values = {
            name: _mean([_by_user(rankings[method]) for method in methods])
            for name, methods in columns.items()
            if all(method in rankings for method in methods)
        }
        if values and len(next(iter(values.values()))):
            by_shop[shop.shop_id] = values
    return by_shop


def _mean(values: Sequence[Values]) -> Values:
    """Averages as distances from the first, so that the mean of equal values is that very value."""
    mean: Values = values[0] + np.mean([each - values[0] for each in values], axis=0)
    return mean


def _by_user(ranking: Ranking) -> Values:
    """Averages a user's queries, so that users and not queries are drawn: `(n_users,)`."""
    _, user = np.unique(ranking.users, return_inverse=True)
    sums = np.bincount(user, weights=ranking.values[:, NDCG])
    return sums / np.bincount(user)


SIGNIFICANCE_LEVEL = 0.05


def verdict_of(gain: float, p_adjusted: float) -> Verdict:
    """Calls a gain better or worse only where its adjusted p is below the level."""
    if p_adjusted >= SIGNIFICANCE_LEVEL:
        return "no-better"
    return "better" if gain > 0 else "worse"


def judge(
    gains: Sequence[tuple[float, float]], *, primary: int | None = None
) -> Iterator[dict[str, float | Verdict]]:
    """Judges comparisons: the primary one by itself, all others corrected together by Holm.

    Args:
        gains: Mean gain and p-value of each comparison.
        primary: Place of the comparison that was named before anything was measured; None where
            there is none.

    Returns:
        For each in order, its `p_adjusted` and `verdict`.
    """
    others = [i for i in range(len(gains)) if i != primary]
    adjusted = dict(zip(others, holm([gains[i][1] for i in others]), strict=True))
    if primary is not None:
        adjusted[primary] = gains[primary][1]
    return (
        {"p_adjusted": adjusted[i], "verdict": verdict_of(gain, adjusted[i])}
        for i, (gain, _) in enumerate(gains)
    )
