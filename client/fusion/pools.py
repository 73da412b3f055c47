"""The pool of validation queries that fusion weights are fitted on, some users at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from client.fusion.scores import Pool, best_of, standardise
from client.recommenders.interface import Recommender
from client.recommenders.queries import History, Queries, build_queries
from shared.interactions.events import Events

_CELLS = 8_000_000
"""Scores of one signal that are in memory at once."""
Fitted = Mapping[str, Recommender]
"""Recommenders by signal, fitted on what was known before the window."""


def pool_of(fitted: Fitted, queries: Queries) -> Pool:
    """Scores queries and keeps the candidates that can reach a fused top 10."""
    signals = {
        name: standardise(recommender.score(queries), queries.allowed)
        for name, recommender in fitted.items()
    }
    best = {name: best_of(scores, queries) for name, scores in signals.items()}
    return Pool.of(signals, best, queries)


def surface_pool(
    surface: str, fitted: Fitted, *, known: History, window: Events, seed: int
) -> Pool | None:
    """Asks for what the users of a shop took in a window, some users at a time.

    Args:
        surface: One of `client.recommenders.queries.SURFACES` that asks nothing about all shops.
        fitted: What scores.
        known: All users of the shop, at the start of the window.
        window: Events in the window, of the users who are asked for.
        seed: Splits the carts.

    Returns:
        The pool; None where the surface has no query.
    """
    built = (
        build_queries(surface, known=known, window=part, seed=seed)
        for part in by_users(window, max(16, _CELLS // max(known.shape[1], 1)))
    )
    pools = [pool_of(fitted, queries) for queries in built if isinstance(queries, Queries)]
    return joined(pools) if pools else None


def by_users(events: Events, n: int) -> Iterator[Events]:
    """Splits events into those of `n` users at a time."""
    users = np.unique(events.user)
    for start in range(0, len(users), n):
        yield events.select(np.isin(events.user, users[start : start + n]))


def joined(pools: Sequence[Pool]) -> Pool:
    """Puts pools under each other, unused places at the end of each row."""
    width = max(pool.targets.shape[1] for pool in pools)

    def stacked(of: Callable[[Pool], npt.NDArray[Any]], fill: float) -> npt.NDArray[Any]:
        rows = [of(pool) for pool in pools]
        wide = [((0, 0), (0, width - values.shape[1])) for values in rows]
        padded = [
            np.pad(values, more, constant_values=fill)
            for values, more in zip(rows, wide, strict=True)
        ]
        return np.concatenate(padded)

    signals = {
        name: stacked(lambda pool, name=name: pool.signals[name], -np.inf)  # type: ignore[misc]
        for name in pools[0].signals
    }
    targets = stacked(lambda pool: pool.targets, False)
    return Pool(signals, targets, np.concatenate([pool.n_targets for pool in pools]))
