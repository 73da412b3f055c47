"""Means and intervals of all methods, over all users and for each shop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.metrics.bootstrap import bootstrap_means, coverage, resample
from simulation.evaluation.measures import COVERAGE, METRICS, Ranking

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
