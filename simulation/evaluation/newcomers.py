"""A shop that took no part in the federation, with no or few users of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from client.recommenders.history import Floats, History
from shared.interactions.events import Events
from simulation.evaluation.shop import GlobalModel, ShopResult, evaluate_shop
from simulation.evaluation.stages import Stage

SIZES = (0, 15, 60, 200)
"""Users that a new shop has of its own."""


def evaluate_newcomer(
    shop_id: str,
    moments: tuple[Stage, Stage],
    *,
    size: int,
    item_vectors: Floats,
    time_unit: str,
    models: Mapping[str, GlobalModel],
    seed: int,
) -> ShopResult:
    """Measures a new shop: it learns from `size` users, and all of its users are asked.

    Args:
        shop_id: A shop that none of the models was trained on.
        moments: Its validation and test stage.
        size: Users whose histories it has; the first of one order for all sizes.
        item_vectors: Text vectors of the catalogue, `(n_items, d)`.
        time_unit: "days" or "order".
        models: Global models by name.
        seed: Of the order of users.
    """
    validation, test = moments
    order = np.random.default_rng([seed, *validation.stream[2:]]).permutation(len(test.history.now))
    users = np.sort(order[:size])
    known = _of(validation.history, users)
    window = _recoded(validation.window, users)
    models = {
        name: replace(model, contributors=frozenset(), saw_answers=False)
        for name, model in models.items()
    }
    return evaluate_shop(
        shop_id,
        replace(validation, history=known, window=window),
        replace(test, few=_of(test.history, users)),
        item_vectors=item_vectors,
        time_unit=time_unit,
        models=models,
        pooled=None,
    )


def _of(history: History, users: np.ndarray) -> History:
    return History(_recoded(history.events, users), history.candidates, history.now[users])


def _recoded(events: Events, users: np.ndarray) -> Events:
    """Keeps the events of some users, ascending, and codes these from 0."""
    kept = events.select(np.isin(events.user, users))
    return replace(kept, user=np.searchsorted(users, kept.user).astype(np.int32))
