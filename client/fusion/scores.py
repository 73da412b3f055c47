"""Fusion of several recommenders' scores: standardised, weighted, added up, and measured.

Each signal is standardised per query over the candidates and enters with a non-negative weight.
`client.fusion.fusion_weights` finds the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from client.recommenders.interface import Scores
from client.recommenders.queries import Bools, Queries
from shared.metrics.ranking import Ranks, hits, ndcg, top_k

K = 10
"""Places of the ranking that weights and hyper-parameters are chosen by."""
_POOL = 50
"""Candidates that each signal puts into a pool; others hardly reach a fused top 10."""


def standardise(scores: Scores, allowed: Bools | None) -> Scores:
    """Shifts and scales each query's scores to mean 0 and deviation 1 over its candidates.

    Args:
        scores: `(q, c)`, finite.
        allowed: Candidates that count, `(q, c)`; None for all.

    Returns:
        `(q, c)`; 0 throughout for a query whose candidates all score the same.
    """
    mask = np.ones_like(scores) if allowed is None else allowed.astype(np.float32)
    n = np.maximum(mask.sum(axis=1, keepdims=True), 1.0)
    centred = scores - np.einsum("qc,qc->q", scores, mask)[:, None] / n
    variance = np.einsum("qc,qc,qc->q", centred, centred, mask)[:, None] / n
    # Rounding leaves a variance above 0 where all scores are equal; dividing by it makes noise.
    flat = variance <= 1e-12 * np.square(scores).max(axis=1, keepdims=True, initial=1e-30)
    standard: Scores = centred / np.where(flat, np.inf, np.sqrt(variance)).astype(np.float32)
    return standard


def masked(scores: Scores, queries: Queries) -> Scores:
    """Puts minus infinity where a candidate must not be recommended."""
    if queries.allowed is None:
        return scores
    masked_scores: Scores = np.where(queries.allowed, scores, np.float32(-np.inf))
    return masked_scores


def ndcg_of(scores: Scores, queries: Queries) -> npt.NDArray[np.float64]:
    """NDCG@10 of each query, `(q,)`."""
    relevant = hits(top_k(masked(scores, queries), K), queries.targets)
    return ndcg(relevant, queries.targets.sum(axis=1), K)


def better(
    ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64], *, standard_errors: float
) -> bool:
    """Says whether the paired gain of `ours` exceeds so many standard errors of itself.

    With 0 or more there must be a gain; with a negative number a loss that may be chance passes.
    """
    gain = ours - theirs
    # One query has no spread to judge by: its gain counts for nothing, its loss passes.
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.inf
    if standard_errors < 0:
        return bool(gain.mean() >= standard_errors * error)
    return bool(gain.mean() > standard_errors * error) and bool(gain.mean() > 0)


def fuse(signals: Mapping[str, Scores], weights: Mapping[str, float]) -> Scores:
    """Adds up standardised signals `(q, c)` with their weights; weights of 0 cost nothing."""
    used = {name: weight for name, weight in weights.items() if weight > 0}
    first, *rest = used
    total = np.float32(used[first]) * signals[first]
    for name in rest:
        total += np.float32(used[name]) * signals[name]
    return total


def best_of(scores: Scores, queries: Queries) -> Ranks:
    """Returns the candidates of each query that one signal puts into a `Pool`, `(q, <= 50)`."""
    k = min(_POOL, scores.shape[1])
    best: Ranks = torch.topk(torch.from_numpy(masked(scores, queries)), k).indices.numpy()
    return best


@dataclass(frozen=True, eq=False)
class PooledCells:
    """Which cells of `(q, c)` a pool holds, and where it holds them.

    Attributes:
        source: Rows and columns of `(q, c)`, by row and in the order of columns.
        place: Rows and columns of the pool.
        shape: Of the pool.
    """

    source: tuple[Ranks, Ranks]
    place: tuple[Ranks, Ranks]
    shape: tuple[int, int]

    @staticmethod
    def of(reach: Bools, rows: Ranks | None = None) -> PooledCells:
        """Moves the candidates in `reach` `(q, c)` to the left; None for all rows."""
        rows = np.arange(len(reach)) if rows is None else rows
        row, column = np.nonzero(reach[rows])
        sizes = np.bincount(row, minlength=len(rows))
        place = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        shape = (len(rows), int(sizes.max(initial=1)))
        return PooledCells((rows[row], column), (row, place), shape)

    def take(self, values: npt.NDArray[Any], *, unused: float) -> npt.NDArray[Any]:
        """Takes these cells of `values` `(q, c)`, with one value in unused places."""
        pooled = np.full(self.shape, unused, dtype=values.dtype)
        pooled[self.place] = values[self.source]
        return pooled

    def pool(
        self,
        signals: Mapping[str, Scores],
        targets: Bools,
        n_targets: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64] | None = None,
    ) -> Pool:
        """Takes these cells of signals and targets, `(q, c)`; the rest is as in `Pool`."""
        pooled = {name: self.take(scores, unused=-np.inf) for name, scores in signals.items()}
        return Pool(pooled, self.take(targets, unused=False), n_targets, rows)


@dataclass(frozen=True, eq=False)
class Pool:
    """The candidates of each query that can reach a fused top 10, for a fast search.

    Attributes:
        signals: Standardised scores by name, `(q, p)`; minus infinity in unused places.
        targets: `(q, p)`.
        n_targets: All targets of each query, in the pool or not, `(q,)`.
        rows: Queries whose rows the others are, as those without a target in the pool have an NDCG
            of 0 whatever the weights; None for all.
    """

    signals: dict[str, Scores]
    targets: Bools
    n_targets: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64] | None = None

    @staticmethod
    def of(signals: Mapping[str, Scores], best: Mapping[str, Ranks], queries: Queries) -> Pool:
        """Takes the candidates that are among the `best` of any of the signals."""
        reach = np.zeros_like(queries.targets)
        for name in signals:
            np.put_along_axis(reach, best[name], values=True, axis=1)
        if queries.allowed is not None:
            reach &= queries.allowed
        n_targets = queries.targets.sum(axis=1)
        return PooledCells.of(reach).pool(signals, queries.targets, n_targets)

    def ndcg(self, weights: Mapping[str, float]) -> npt.NDArray[np.float64]:
        """NDCG@10 of each query under the weights, `(q,)`."""
        return self.ndcg_of(fuse(self.signals, weights))

    def ndcg_of(self, scores: Scores) -> npt.NDArray[np.float64]:
        """NDCG@10 of each query, `(q,)`, under fused scores of `rows`."""
        best = torch.topk(torch.from_numpy(scores), min(K, scores.shape[1])).indices.numpy()
        relevant = hits(best, self.targets)
        if self.rows is None:
            return ndcg(relevant, self.n_targets, K)
        values = np.zeros(len(self.n_targets))
        values[self.rows] = ndcg(relevant, self.n_targets[self.rows], K)
        return values
