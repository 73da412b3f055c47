"""Measures of uses, all weighted so that one computation serves every bootstrap sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from shared.metrics.bootstrap import LEVEL, Interval, resample
from shared.uses.history import Codes, Floats


@dataclass(frozen=True, eq=False)
class Scored:
    """Answers beside what was told: one row a question.

    Attributes:
        label: `(n,)`.
        score: `(n,)`; NaN rows are left out.
        group: Within what ranks are compared, `(n,)`.
        unit: What is resampled, `(n,)`.
    """

    label: Floats
    score: Floats
    group: Codes
    unit: Codes


Metric = Callable[[Scored, Floats], Floats]
"""From scored rows and weights `(draws, n)` to values `(draws,)`."""


def auc(scored: Scored, weights: Floats) -> Floats:
    """Share of pairs (1 before 0) within groups, over all groups' pairs; ties count half.

    https://doi.org/10.1148/radiology.143.1.7063747
    """
    right, pairs = _concordant(scored, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        value: Floats = right.sum(axis=1) / pairs.sum(axis=1)
    return value


def auc_in_user(scored: Scored, weights: Floats) -> Floats:
    """Mean over groups (users) of each one's AUC; groups with one kind of label are left out."""
    once = np.where(np.isnan(scored.score), 0.0, 1.0)[None, :]
    right, pairs = _concordant(scored, once)
    some = pairs[0] > 0
    values = right[0, some] / pairs[0, some]
    _, first = np.unique(scored.group, return_index=True)
    weight = weights[:, first][:, some]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = (weight @ values) / weight.sum(axis=1)
    return mean


def lift_of_best_tenth(scored: Scored, weights: Floats) -> Floats:
    """Share of ones in the best tenth of all rows, over their share in all rows."""
    order = np.argsort(-scored.score, kind="stable")
    label, weight = scored.label[order], weights[:, order]
    total = weight.sum(axis=1, keepdims=True)
    above = np.cumsum(weight, axis=1)
    inside = np.clip(total / 10 - (above - weight), 0, weight)
    with np.errstate(invalid="ignore", divide="ignore"):
        best = (inside @ label) / inside.sum(axis=1)
        lift: Floats = best / ((weight @ label) / total[:, 0])
    return lift


def rmsle(scored: Scored, weights: Floats) -> Floats:
    """Root of the mean squared error of log(1 + number); scores are numbers."""
    error = np.log1p(np.maximum(scored.score, 0)) - np.log1p(scored.label)
    mean: Floats = np.sqrt((weights @ np.square(error)) / weights.sum(axis=1))
    return mean


def wape(scored: Scored, weights: Floats) -> Floats:
    """Sum of absolute errors over the sum of the numbers."""
    error = np.abs(scored.score - scored.label)
    share: Floats = (weights @ error) / (weights @ scored.label)
    return share


def mean_absolute_error(scored: Scored, weights: Floats) -> Floats:
    """Mean of absolute errors."""
    error: Floats = (weights @ np.abs(scored.score - scored.label)) / weights.sum(axis=1)
    return error


def interval(
    metric: Metric, scored_by_seed: list[Scored], *, draws: int, rng: np.random.Generator
) -> Interval:
    """Returns the mean of a metric over seeds, with a percentile bootstrap over units.

    Args:
        metric: The metric.
        scored_by_seed: The same questions under each seed's scores; NaN scores are left out.
        draws: Bootstrap samples.
        rng: Draws them.
    """
    units, place = np.unique(scored_by_seed[0].unit, return_inverse=True)
    if not len(units):
        return Interval(np.nan, np.nan, np.nan)
    counts = np.vstack([np.ones((1, len(units))), resample(len(units), draws, rng)])
    values = np.zeros(draws + 1)
    for scored in scored_by_seed:
        is_scored = ~np.isnan(scored.score)
        rows = Scored(*(column[is_scored] for column in vars(scored).values()))
        values += metric(rows, counts[:, place[is_scored]]) / len(scored_by_seed)
    sampled = values[1:][~np.isnan(values[1:])]
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(sampled, [tail, 100 - tail]) if len(sampled) else (np.nan, np.nan)
    return Interval(float(values[0]), float(low), float(high))


def _concordant(scored: Scored, weights: Floats) -> tuple[Floats, Floats]:
    """Returns weighted pairs in the right order and all pairs, `(draws, n_groups)` each."""
    order = np.lexsort((scored.score, scored.group))
    group, score = scored.group[order], scored.score[order]
    label, weight = scored.label[order] > 0, weights[:, order]
    zeros = weight * ~label
    below = np.cumsum(zeros, axis=1) - zeros
    starts = (
        np.flatnonzero(np.r_[True, group[1:] != group[:-1]]) if len(group) else np.zeros(0, int)
    )
    tied = np.flatnonzero(np.r_[True, (group[1:] != group[:-1]) | (score[1:] != score[:-1])])
    sizes = np.diff(np.r_[tied, len(group)])
    # Of rows with one score the zeros that stand before the first are below all of them.
    level = np.repeat(below[:, tied], sizes, axis=1)
    equal = np.repeat(np.add.reduceat(zeros, tied, axis=1), sizes, axis=1)
    before_group = np.repeat(below[:, starts], np.diff(np.r_[starts, len(group)]), axis=1)
    right = weight * label * (level - before_group + equal / 2)
    ones = np.add.reduceat(weight * label, starts, axis=1)
    return (
        np.add.reduceat(right, starts, axis=1),
        ones * np.add.reduceat(zeros, starts, axis=1),
    )
