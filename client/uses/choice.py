"""Which head a shop serves: the one that its own users say is best, and never one below the rule.

Users are dealt into folds, so that no user's earlier weeks tell on its later ones. Weight 0 of what
the federation gives and the rule are candidates like all others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from client.uses.heads import Head, RuleHead
from shared.uses.history import Floats
from shared.uses.interface import Examples, Use
from shared.uses.metrics import Scored

FOLDS = 4
MIN_UNITS = 30
"""Units with answers that a choice needs; below, what is served by default stands."""

Fit = Callable[[Examples], Head]
"""Fits one candidate to examples."""
RULE = "rule"
LOWER_IS_BETTER = ("rmsle", "wape", "mase")


def choose(
    use: Use,
    examples: Examples,
    candidates: Mapping[str, Fit],
    *,
    default: str,
    rng: np.random.Generator,
) -> tuple[str, Head]:
    """Returns the name and the head of the candidate that does best on users it was not fitted to.

    Args:
        use: The use; its first metric decides.
        examples: The shop's own.
        candidates: Name -> fit; the rule is always one more.
        default: What is served where there are fewer than `MIN_UNITS` units or nothing can be
            measured.
        rng: Deals the users into folds.
    """
    fits: dict[str, Fit] = {RULE: lambda _: RuleHead(), **candidates}
    units, place = np.unique(examples.table.unit, return_inverse=True)
    name = default
    if len(units) >= MIN_UNITS:
        fold = dealt(len(units), rng)[place]
        values = {key: cross_validated(use, examples, fit, fold) for key, fit in fits.items()}
        measured = {key: value for key, value in values.items() if np.isfinite(value)}
        if measured:
            name = max(measured, key=lambda key: measured[key])
    return name, fits[name](examples)


def cross_validated(use: Use, examples: Examples, fit: Fit, fold: np.ndarray) -> float:
    """Returns a candidate's metric on users left out of its fit; larger is better.

    Args:
        use: The use.
        examples: The shop's own.
        fit: The candidate.
        fold: Fold of each example, `(n,)`.
    """
    score = scores_left_out(examples, fit, fold)
    is_scored = ~np.isnan(score)
    table = examples.table
    scored = Scored(
        examples.label[is_scored], score[is_scored], table.group[is_scored], table.unit[is_scored]
    )
    name, metric = next(iter(use.metrics.items()))
    value = float(metric(scored, np.ones((1, int(is_scored.sum()))))[0])
    return -value if name in LOWER_IS_BETTER else value


def dealt(n_units: int, rng: np.random.Generator) -> np.ndarray:
    """Deals units into folds, `(n_units,)`."""
    return rng.permutation(n_units) % FOLDS


def scores_left_out(examples: Examples, fit: Fit, fold: np.ndarray) -> Floats:
    """Returns each example's score by a fit that did not see its unit, `(n,)`.

    Args:
        examples: The shop's own.
        fit: The candidate.
        fold: Fold of each example, `(n,)`; where all are in one, their scores are NaN.
    """
    score = np.full(len(examples), np.nan)
    for number in range(FOLDS):
        out = fold == number
        if out.any() and not out.all():
            score[out] = fit(examples.select(~out)).score(examples.select(out).table)
    return score
