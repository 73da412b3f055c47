"""Evaluation of a whole data set: every shop, surface and method, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from client.recommenders.history import Floats
from client.surfaces import SURFACES
from shared.interactions.events import Dataset, Shop
from shared.interactions.splits import Windows
from simulation.evaluation.measures import METRICS
from simulation.evaluation.pooled import fit_pooled
from simulation.evaluation.shop import GlobalModel, PooledTwins, ShopResult, evaluate_shop
from simulation.evaluation.stages import Stage, stages, with_cold_items
from simulation.evaluation.summary import summarise


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Everything that one evaluation measured.

    Attributes:
        metrics: surface -> method -> metric -> `{"mean", "low", "high"}` over all users, and under
            `shops` the same by shop id.
        surfaces: surface -> shops in which it could be measured, and why not in the others.
        shops: Each shop's rankings, weights and hyper-parameters.
    """

    metrics: dict[str, Any]
    surfaces: dict[str, Any]
    shops: tuple[ShopResult, ...]

    def choices(self) -> dict[str, Any]:
        """Returns shop -> surface -> `weights` and `parameters`, as plain values."""
        return {
            shop.shop_id: {
                surface: {"weights": weights, "parameters": shop.parameters[surface]}
                for surface, weights in shop.weights.items()
            }
            for shop in self.shops
        }


def evaluate(
    dataset: Dataset,
    windows: Windows,
    item_vectors: Floats,
    models: Mapping[str, GlobalModel],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    workers: int = 2,
    pooled: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationResult:
    """Evaluates local, global, fused and pooled recommenders by full ranking.

    Everything is chosen on the validation window; local models are then fitted again on fit and
    validation. Global models are used as they are. Results do not depend on `workers`.

    Args:
        dataset: The shops.
        windows: The validation and test windows.
        item_vectors: Text vectors of the catalogue, `(n_items, d)`.
        models: Global models by name: "" gives the methods `global` and `fused`, any other name
            `global-<name>` and `fused-<name>`. Local methods are computed once for all models.
        bootstrap: Draws of the intervals.
        seed: Of the cart halves and the bootstrap.
        workers: Shops at a time.
        pooled: Whether to compute the upper bound `pooled`.
        progress: Called with shops done and shops in all.
    """
    with one_blas_thread(), ThreadPoolExecutor(workers) as pool:
        moments = moments_of(dataset, windows, pool, seed=seed)
        bound = _pooled(moments, item_vectors, dataset.time_unit, pool) if pooled else None

        def one(pair: tuple[Shop, tuple[Stage, Stage]]) -> ShopResult:
            shop, (validation, test) = pair
            return evaluate_shop(
                shop.shop_id,
                validation,
                test,
                item_vectors=item_vectors,
                time_unit=dataset.time_unit,
                models=models,
                pooled=bound,
            )

        shops = []
        for result in pool.map(one, zip(dataset.shops, moments, strict=True)):
            shops.append(result)
            if progress is not None:
                progress(len(shops), len(dataset.shops))
        rankings = [[shop.rankings for shop in shops], *([shop.rankings] for shop in shops)]
        tables = list(
            pool.map(lambda group: summarise(group, draws=bootstrap, seed=seed), rankings)
        )
    metrics: dict[str, Any] = dict(tables[0])
    metrics["shops"] = {shop.shop_id: t for shop, t in zip(shops, tables[1:], strict=True)}
    return EvaluationResult(metrics, _availability(shops), tuple(shops))


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Gives linear algebra one thread: shops run side by side, and sums keep their order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def moments_of(
    dataset: Dataset, windows: Windows, pool: ThreadPoolExecutor, *, seed: int
) -> list[tuple[Stage, Stage]]:
    """Builds every shop's validation and test stage, with the items that are cold in all shops.

    Args:
        dataset: The shops.
        windows: The validation and test windows.
        pool: Shops run side by side in it.
        seed: Of the cart halves.
    """
    pairs = pool.map(
        lambda shop: stages(shop, windows, dataset.scored_of(shop), seed=seed), dataset.shops
    )
    first, second = zip(*pairs, strict=True)
    n_items = len(dataset.scored)
    return list(zip(with_cold_items(first, n_items), with_cold_items(second, n_items), strict=True))


def _pooled(
    moments: Sequence[tuple[Stage, Stage]],
    item_vectors: Floats,
    time_unit: str,
    pool: ThreadPoolExecutor,
) -> tuple[PooledTwins, PooledTwins]:
    histories = [[pair[i].history for pair in moments] for i in (0, 1)]
    first, second = pool.map(lambda group: fit_pooled(group, item_vectors, time_unit), histories)
    return first, second


def _availability(shops: Sequence[ShopResult]) -> dict[str, Any]:
    return {
        surface: {
            "shops": sum(surface in shop.rankings for shop in shops),
            "absent": {s.shop_id: s.absent[surface] for s in shops if surface in s.absent},
        }
        for surface in SURFACES
    }


def user_table(result: EvaluationResult, dataset: Dataset) -> pd.DataFrame:
    """Lists every user's metrics: `shop_id, user_id, surface, method` and `METRICS`."""
    frames = []
    for shop, found in zip(dataset.shops, result.shops, strict=True):
        for surface, methods in found.rankings.items():
            for method, ranking in methods.items():
                frame = pd.DataFrame(ranking.values, columns=list(METRICS))
                frame.insert(0, "method", method)
                frame.insert(0, "surface", surface)
                frame.insert(0, "user_id", shop.user_ids[ranking.users])
                frame.insert(0, "shop_id", found.shop_id)
                frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def ranking_table(result: EvaluationResult, dataset: Dataset) -> pd.DataFrame:
    """Lists the top 20: `shop_id, user_id, surface, method, rank` (from 1), `item_id, score`."""
    frames = []
    for shop, found in zip(dataset.shops, result.shops, strict=True):
        for surface, methods in found.rankings.items():
            for method, ranking in methods.items():
                rows, places = np.nonzero(ranking.items >= 0)
                columns = {
                    "shop_id": found.shop_id,
                    "user_id": shop.user_ids[ranking.users[rows]],
                    "surface": surface,
                    "method": method,
                    "rank": places + 1,
                    "item_id": dataset.catalogue.item_ids[ranking.items[rows, places]],
                    "score": ranking.scores[rows, places],
                }
                frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
