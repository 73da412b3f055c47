"""NDCG@10 of every user by method, taken from an evaluation of several models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from simulation.evaluation.evaluate import EvaluationResult
from simulation.evaluation.measures import METRICS, Ranking
from simulation.evaluation.shop import named

Values = npt.NDArray[np.float64]
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
    found = {}
    for shop in result.shops:
        rankings = shop.rankings.get(surface, {})
        values = {
            name: _mean([_by_user(rankings[method]) for method in methods])
            for name, methods in columns.items()
            if all(method in rankings for method in methods)
        }
        if values and len(next(iter(values.values()))):
            found[shop.shop_id] = values
    return found


def _mean(values: Sequence[Values]) -> Values:
    """Averages as distances from the first, so that the mean of equal values is that very value."""
    mean: Values = values[0] + np.mean([each - values[0] for each in values], axis=0)
    return mean


def _by_user(ranking: Ranking) -> Values:
    """Averages a user's queries, so that users and not queries are drawn: `(n_users,)`."""
    _, user = np.unique(ranking.users, return_inverse=True)
    sums = np.bincount(user, weights=ranking.values[:, NDCG])
    return sums / np.bincount(user)
