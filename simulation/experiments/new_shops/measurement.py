"""A shop that took no part in the federation, with no or few users of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from client.recommenders.queries import Floats, History
from shared.interactions.events import Events
from simulation.evaluation.evaluate import (
    EvaluationResult,
    data_taken_types,
    one_blas_thread,
    query_times_of,
    read_evaluation,
    write_evaluation,
)
from simulation.evaluation.measures import Ranking, Stage
from simulation.evaluation.shop import OF_MODELS, GlobalModel, ShopResult, evaluate_shop, named
from simulation.reporting.terminal import Progress
from simulation.runs.preparation import Prepared


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
    events = _recoded(history.events, users)
    return replace(history, events=events, now=history.now[users], visit=None)


def _recoded(events: Events, users: np.ndarray) -> Events:
    """Keeps the events of some users, ascending, and codes these from 0."""
    selected = events.select(np.isin(events.user, users))
    return replace(selected, user=np.searchsorted(users, selected.user).astype(np.int32))


TEXT, LOCAL = "text", "best-local"
Models = Sequence[Mapping[str, GlobalModel]]
"""Of each shop, the models that it took no part in, by name."""


def measure_sizes(
    prepared: Prepared,
    models: Models,
    *,
    workers: int,
    folder: Path,
    progress: Progress,
    held_out: Sequence[int] | None = None,
) -> dict[int, EvaluationResult]:
    """Measures every shop at every size that it has the users for.

    Args:
        prepared: Data and settings.
        models: Of each shop.
        workers: Shops at a time; changes no result.
        folder: Folder for each size's result, for an interruption.
        progress: Bars and clock.
        held_out: Numbers of the shops that are measured; None for all.

    Returns:
        Size -> the shops' rankings of the methods that are shown; no means.
    """
    settings, dataset = prepared.settings, prepared.dataset
    sizes = settings.evaluation.new_shops
    results = {s: result for s in sizes if (result := read_evaluation(folder / f"{s}")) is not None}
    missing = [size for size in sizes if size not in results]
    if not missing:
        return results
    numbers = range(prepared.n_shops) if held_out is None else held_out
    total = len(missing) * len(numbers)
    with (
        progress.phase("evaluate new shops", label="Evaluating new shops", total=total) as phase,
        one_blas_thread(),
        ThreadPoolExecutor(workers) as pool,
    ):
        types = data_taken_types(dataset, settings.evaluation.target_types)
        moments = query_times_of(dataset, prepared.windows, pool, seed=settings.seed, types=types)
        for size in missing:
            shops = []
            one = partial(_measure, prepared, moments, models, size)
            for measured in pool.map(one, numbers):
                shops += [measured] if measured is not None else []
                phase.advance()
            results[size] = EvaluationResult({}, {}, tuple(shops))
            write_evaluation(folder / f"{size}", results[size])
    return {size: results[size] for size in sizes}


def _measure(
    prepared: Prepared,
    moments: Sequence[tuple[Stage, Stage]],
    models: Models,
    size: int,
    number: int,
) -> ShopResult | None:
    """Measures one shop at one size; None where it has fewer users."""
    shop = prepared.dataset.shops[number]
    if shop.n_users < size:
        return None
    result = evaluate_newcomer(
        shop.shop_id,
        moments[number],
        size=size,
        item_vectors=prepared.item_vectors,
        time_unit=prepared.dataset.time_unit,
        models=models[number],
        seed=prepared.settings.seed,
    )
    return _shown(result, models[number])


def _shown(result: ShopResult, models: Mapping[str, GlobalModel]) -> ShopResult:
    """Keeps the values of the methods that are shown, and of their rankings nothing else."""
    methods = {TEXT, LOCAL, *(named(m, model) for m in OF_MODELS for model in models)}
    rankings = {
        surface: {m: _values(r) for m, r in by_method.items() if m in methods}
        for surface, by_method in result.rankings.items()
    }
    return replace(result, rankings=rankings)


def _values(ranking: Ranking) -> Ranking:
    return replace(ranking, items=ranking.items[:, :0], scores=ranking.scores[:, :0])
