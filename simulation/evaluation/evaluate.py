"""Means and intervals of all methods, over all users and for each shop."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from client.recommenders.queries import SURFACES, Floats
from client.recommenders.visits import TAKEN_TYPES, taken_types
from shared.interactions.events import Dataset, Shop
from shared.interactions.splits import Windows
from shared.metrics.bootstrap import bootstrap_means, coverage, resample
from shared.runtime.file_store import write_atomic
from shared.settings.run_settings import TARGET_TYPES
from simulation.evaluation.measures import (
    COVERAGE,
    METRICS,
    Ranking,
    Stage,
    stages,
    with_cold_items,
)
from simulation.evaluation.pooled import fit_pooled
from simulation.evaluation.ridge_inverse import fit_side_by_side, matrix_side
from simulation.evaluation.shop import GlobalModel, PooledTwins, ShopResult, evaluate_shop

Table = dict[str, dict[str, dict[str, dict[str, float | None]]]]
"""surface -> method -> metric -> mean, low, high."""
Rankings = dict[str, dict[str, Ranking]]
"""surface -> method -> ranking of one shop."""


def summarise(shops: Sequence[Rankings], *, draws: int, seed: int) -> Table:
    """Summarises the users of one or several shops.

    All methods of a surface are resampled with the same users, so that their intervals can be
    compared.

    Args:
        shops: The shops' rankings; all have the same methods on a surface, though a shop may lack
            a surface.
        draws: Bootstrap samples.
        seed: Of the resampling.
    """
    surfaces = list(dict.fromkeys(surface for shop in shops for surface in shop))
    table: Table = {}
    for surface in surfaces:
        present = [shop[surface] for shop in shops if surface in shop]
        counts = resample(sum(_size(shop) for shop in present), draws, np.random.default_rng(seed))
        methods = list(present[0])
        values = [np.concatenate([shop[name].values for shop in present]) for name in methods]
        intervals = bootstrap_means(np.concatenate(values, axis=1), counts)
        table[surface] = {}
        for i, name in enumerate(methods):
            mine = intervals[i * len(METRICS) : (i + 1) * len(METRICS)]
            row: dict[str, Any] = dict(zip(METRICS, mine, strict=True))
            row[COVERAGE] = coverage(*_shown([shop[name] for shop in present]))
            table[surface][name] = {metric: value.to_json() for metric, value in row.items()}
    return table


def _size(rankings: dict[str, Ranking]) -> int:
    return len(next(iter(rankings.values())).users)


def _shown(rankings: Sequence[Ranking]) -> tuple[npt.NDArray[np.int64], int]:
    """Numbers the items of different shops apart and adds up their candidates."""
    width = max(ranking.items.shape[1] for ranking in rankings)
    step = max(int(ranking.items.max(initial=0)) for ranking in rankings) + 1
    blocks = []
    for i, ranking in enumerate(rankings):
        moved = np.where(ranking.items < 0, -1, ranking.items + i * step)
        missing = width - moved.shape[1]
        blocks.append(np.pad(moved, ((0, 0), (0, missing)), constant_values=-1))
    return np.concatenate(blocks), sum(ranking.n_candidates for ranking in rankings)


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
    target_types: Sequence[str] = TARGET_TYPES,
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
        target_types: Event types that are measured; see `EvaluationSettings.target_types`.
        progress: Called with shops done and shops in all.
    """
    with one_blas_thread(), ThreadPoolExecutor(workers) as pool:
        types = data_taken_types(dataset, target_types)
        moments = query_times_of(dataset, windows, pool, seed=seed, types=types)
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
                persons=shop.persons,
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


def query_times_of(
    dataset: Dataset,
    windows: Windows,
    pool: ThreadPoolExecutor,
    *,
    seed: int,
    types: npt.NDArray[np.bool_] = TAKEN_TYPES,
) -> list[tuple[Stage, Stage]]:
    """Builds every shop's validation and test stage, with the items that are cold in all shops.

    Args:
        dataset: The shops.
        windows: The validation and test windows.
        pool: Shops run side by side in it.
        seed: Of the cart halves.
        types: Types that say that a user has an item, mask over `EVENT_TYPES`.
    """

    def one(shop: Shop) -> tuple[Stage, Stage]:
        scored = dataset.scored_of(shop)
        return stages(shop, windows, scored, seed=seed, taken_types=types)

    pairs = pool.map(one, dataset.shops)
    first, second = zip(*pairs, strict=True)
    n_items = len(dataset.scored)
    return list(zip(with_cold_items(first, n_items), with_cold_items(second, n_items), strict=True))


def data_taken_types(dataset: Dataset, names: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Returns the mask of types that a data set is measured by; see `taken_types`."""
    present = [np.unique(shop.events.event_type) for shop in dataset.shops]
    return taken_types(names, np.unique(np.concatenate(present)) if present else None)


def _pooled(
    moments: Sequence[tuple[Stage, Stage]],
    item_vectors: Floats,
    time_unit: str,
    pool: ThreadPoolExecutor,
) -> tuple[PooledTwins, PooledTwins]:
    histories = [[pair[i].history for pair in moments] for i in (0, 1)]
    users = sum(len(history.now) for history in histories[0])
    together = fit_side_by_side(matrix_side(users, len(item_vectors)))
    first, second = (pool.map if together else map)(
        lambda group: fit_pooled(group, item_vectors, time_unit), histories
    )
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
    for shop, shop_result in zip(dataset.shops, result.shops, strict=True):
        for surface, methods in shop_result.rankings.items():
            for method, ranking in methods.items():
                frame = pd.DataFrame(ranking.values, columns=list(METRICS))
                frame.insert(0, "method", method)
                frame.insert(0, "surface", surface)
                frame.insert(0, "user_id", shop.user_ids[ranking.users])
                frame.insert(0, "shop_id", shop_result.shop_id)
                frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def ranking_table(result: EvaluationResult, dataset: Dataset) -> pd.DataFrame:
    """Lists the top 20: `shop_id, user_id, surface, method, rank` (from 1), `item_id, score`."""
    frames = []
    for shop, shop_result in zip(dataset.shops, result.shops, strict=True):
        for surface, methods in shop_result.rankings.items():
            for method, ranking in methods.items():
                rows, places = np.nonzero(ranking.items >= 0)
                columns = {
                    "shop_id": shop_result.shop_id,
                    "user_id": shop.user_ids[ranking.users[rows]],
                    "surface": surface,
                    "method": method,
                    "rank": places + 1,
                    "item_id": dataset.catalogue.item_ids[ranking.items[rows, places]],
                    "score": ranking.scores[rows, places],
                }
                frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


PLAIN, ARRAYS = "evaluation.json", "rankings.npz"


def write_evaluation(folder: Path, result: EvaluationResult) -> None:
    """Writes an evaluation; `evaluation.json` comes last and says that all is there.

    Raises:
        StorageError: It cannot be written. What was there is gone.
    """
    shutil.rmtree(folder, ignore_errors=True)
    arrays: dict[str, Any] = {}
    shops = [_plain_shop(shop, f"{i}", arrays) for i, shop in enumerate(result.shops)]
    plain = {"metrics": result.metrics, "surfaces": result.surfaces, "shops": shops}
    write_atomic(
        folder / ARRAYS, lambda file: np.savez(file, **arrays), durable=False, private=False
    )
    write_atomic(folder / PLAIN, json.dumps(plain).encode(), durable=False, private=False)


def read_evaluation(folder: Path) -> EvaluationResult | None:
    """Reads what `write_evaluation` wrote; None where it did not come to its end."""
    if not (folder / PLAIN).exists():
        return None
    plain = json.loads((folder / PLAIN).read_text(encoding="utf-8"))
    with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
        shops = [_shop(shop, arrays) for shop in plain["shops"]]
    return EvaluationResult(plain["metrics"], plain["surfaces"], tuple(shops))


def _plain_shop(shop: ShopResult, prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """Returns a shop's plain values, and moves its arrays to `arrays`."""
    rankings: dict[str, dict[str, str]] = {}
    for surface, methods in shop.rankings.items():
        rankings[surface] = {}
        for method, ranking in methods.items():
            key = f"{prefix}/{surface}/{method}"
            rankings[surface][method] = key
            arrays |= {f"{key}/{f.name}": getattr(ranking, f.name) for f in fields(Ranking)}
    plain = {f.name: getattr(shop, f.name) for f in fields(ShopResult)}
    return {**plain, "rankings": rankings}


def _shop(plain: dict[str, Any], arrays: Any) -> ShopResult:
    rankings = {
        surface: {method: _ranking(key, arrays) for method, key in methods.items()}
        for surface, methods in plain["rankings"].items()
    }
    return ShopResult(**{**plain, "rankings": rankings})


def _ranking(key: str, arrays: Any) -> Ranking:
    """Arrays stay arrays; what was a number is one again."""
    values = {f.name: arrays[f"{key}/{f.name}"] for f in fields(Ranking)}
    return Ranking(**{k: v if v.ndim else v.item() for k, v in values.items()})
