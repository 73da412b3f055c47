"""Users of whom little is known: nothing, one event, and the smooth way to a whole history.

Weights that are right for whole histories rank short ones worse than popularity where users have
long ones, since co-purchase with few items says little there. So the weights of a query lie between
those of a new user and those of the surface, by how long the context is beside what is usual in the
shop. See `docs/decisions/019-short-histories.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from client.fusion.scores import Pool, better, fuse
from client.recommenders.interface import Scores
from client.recommenders.queries import History

NEW_USER = "new-user"
"""Surface on which the weights of new users are learned: whole histories cut to one event."""
BY_HISTORY = ("discover", "tail")
"""Surfaces whose weights follow the length of the context."""
MEAN_OVER_HALF = 8.0
"""Items of the mean user over the further items that halve the share of new users' weights."""
NEW_USER_ERRORS = 2.0
"""Standard errors by which learned weights must rank new users above popularity."""
_SHARES = (1.0, 0.5, 0.25)
_LEAST_SHARE = 0.01
_OF_NOBODY = ("popularity", "prior", "global")

Weights = dict[str, float]


def mean_items(history: History) -> float:
    """Returns how many distinct items a shop's users have on average, 0 without users."""
    n_users = len(history.now)
    return float(history.users_per_item.sum()) / n_users if n_users else 0.0


def new_user_share(n_items: npt.NDArray[np.integer] | int, usual: float) -> npt.NDArray[np.float64]:
    """Returns how much the weights of a new user count: 1 up to one item, falling smoothly to 0.

    Args:
        n_items: Distinct items of each context, `(q,)`.
        usual: From `mean_items`.
    """
    halving = max(usual / MEAN_OVER_HALF, 1.0)
    share = np.exp2(-(np.maximum(n_items, 1) - 1.0) / halving)
    return np.where(share < _LEAST_SHARE, 0.0, share)


def of_nobody(weights: Mapping[str, float]) -> Weights:
    """Returns weights for a visitor without any history: popularity, here and in all shops.

    Args:
        weights: Of a new user, with those of all shops' popularity where it is released.
    """
    kinds = {name: name.split("-")[0] for name in weights}
    popularities = {name: w for name, w in weights.items() if kinds[name] in _OF_NOBODY}
    return {**popularities, "popularity": 1.0}


def new_user_weights(pool: Pool, learned: Sequence[Weights], *, public: Weights | None) -> Weights:
    """Departs from popularity as far as the validation queries clearly say.

    Args:
        pool: Validation queries of new users.
        learned: What may take the place of popularity, or a part of it, each with sum 1.
        public: What counts where there are too few queries to say; None for popularity.

    Returns:
        Weights with sum 1, popularity alone unless others beat it by `NEW_USER_ERRORS`.
    """
    alone = {name: float(name == "popularity") for name in learned[0]}
    by_popularity = pool.ndcg(alone)
    if public is not None:
        return alone if better(by_popularity, pool.ndcg(public), standard_errors=0.0) else public
    chosen, best = alone, float(by_popularity.mean())
    for weights in learned:
        for share in _SHARES:
            trial = {n: share * w + (1 - share) * alone[n] for n, w in weights.items()}
            values = pool.ndcg(trial)
            clear = better(values, by_popularity, standard_errors=NEW_USER_ERRORS)
            if clear and values.mean() > best:
                chosen, best = trial, float(values.mean())
    return chosen


def fuse_by_history(
    signals: Mapping[str, Scores],
    weights: Mapping[str, float],
    new_user: Mapping[str, float],
    *,
    n_items: npt.NDArray[np.integer],
    usual: float,
    smooth: bool,
) -> Scores:
    """Fuses each query's signals `(q, c)` with the weights of its length of context.

    Args:
        signals: Standardised scores by name.
        weights: For whole histories.
        new_user: For one event.
        n_items: Distinct items of each context, `(q,)`.
        usual: From `mean_items`.
        smooth: Whether weights follow the length; else only who has no history gets others.
    """
    scores = fuse(signals, weights)
    share = new_user_share(n_items, usual)
    for rows, mix in (
        (np.flatnonzero((share > 0) & (n_items > 0) & smooth), new_user),
        (np.flatnonzero(n_items == 0), of_nobody(new_user)),
    ):
        if len(rows):
            part = fuse({name: signals[name][rows] for name in mix if name in signals}, mix)
            one = share[rows, None].astype(np.float32)
            scores[rows] = (1 - one) * scores[rows] + one * part
    return scores
