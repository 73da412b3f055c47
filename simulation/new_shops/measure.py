"""Every shop as a new one: measured with the models that it took no part in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from simulation.evaluation.evaluate import EvaluationResult, moments_of, one_blas_thread
from simulation.evaluation.measures import Ranking
from simulation.evaluation.newcomers import evaluate_newcomer
from simulation.evaluation.shop import GlobalModel, ShopResult, named
from simulation.evaluation.stages import Stage
from simulation.preparation import Prepared
from simulation.report.progress import Progress
from simulation.sweep.kept_evaluation import keep_evaluation, kept_evaluation

TEXT, LOCAL = "text", "best-local"
OF_MODELS = ("global", "pairs", "fused")
"""Methods that are shown of every model, beside `TEXT` and `LOCAL`."""
Models = Sequence[Mapping[str, GlobalModel]]
"""Of each shop, the models that it took no part in, by name."""


def measure_sizes(
    prepared: Prepared,
    models: Models,
    *,
    workers: int,
    kept: Path,
    progress: Progress,
) -> dict[int, EvaluationResult]:
    """Measures every shop at every size that it has the users for.

    Args:
        prepared: Data and settings.
        models: Of each shop.
        workers: Shops at a time; changes no result.
        kept: Folder for each size's result, for an interruption.
        progress: Bars and clock.

    Returns:
        Size -> the shops' rankings of the methods that are shown; no means.
    """
    settings, dataset = prepared.settings, prepared.dataset
    sizes = settings.evaluation.new_shops
    found = {s: result for s in sizes if (result := kept_evaluation(kept / f"{s}")) is not None}
    missing = [size for size in sizes if size not in found]
    if not missing:
        return found
    total = len(missing) * prepared.n_shops
    with (
        progress.phase("evaluate new shops", label="Evaluating new shops", total=total) as phase,
        one_blas_thread(),
        ThreadPoolExecutor(workers) as pool,
    ):
        moments = moments_of(dataset, prepared.windows, pool, seed=settings.seed)
        for size in missing:
            shops = []
            one = partial(_measure, prepared, moments, models, size)
            for measured in pool.map(one, range(prepared.n_shops)):
                shops += [measured] if measured is not None else []
                phase.advance()
            found[size] = EvaluationResult({}, {}, tuple(shops))
            keep_evaluation(kept / f"{size}", found[size])
    return {size: found[size] for size in sizes}


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
        surface: {m: _values(r) for m, r in found.items() if m in methods}
        for surface, found in result.rankings.items()
    }
    return replace(result, rankings=rankings)


def _values(ranking: Ranking) -> Ranking:
    return replace(ranking, items=ranking.items[:, :0], scores=ranking.scores[:, :0])
