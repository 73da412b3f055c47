"""Fusion of several recommenders' scores with weights that a shop learns from its own users.

Each signal is standardised per query over the candidates and enters with a non-negative weight,
found by coordinate search on NDCG@10 of the shop's validation window. Small shops have few users
to learn weights from, so a weight moves only for a gain above `CAUTION` of its standard error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from client.recommenders.interface import Scores
from client.surfaces import Bools, Queries
from shared.metrics.ranking import hits, ndcg, top_k

K = 10
"""Places of the ranking that weights and hyper-parameters are chosen by."""
CAUTION = 0.5
"""Standard errors by which a change of weights must win on the validation window."""
WEIGHTS = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Weights that are tried, on standardised scores."""
_CYCLES = 3
_POOL = 50


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
    flat = variance <= 1e-12 * np.square(scores).max(axis=1, keepdims=True, initial=1e-30)
    standard: Scores = centred / np.where(flat, np.inf, np.sqrt(variance)).astype(np.float32)
    return standard


def masked(scores: Scores, queries: Queries) -> Scores:
    """Puts minus infinity where a candidate must not be recommended."""
    if queries.allowed is None:
        return scores
    out: Scores = np.where(queries.allowed, scores, np.float32(-np.inf))
    return out


def ndcg_of(scores: Scores, queries: Queries) -> npt.NDArray[np.float64]:
    """NDCG@10 of each query, `(q,)`."""
    found = hits(top_k(masked(scores, queries), K), queries.targets)
    return ndcg(found, queries.targets.sum(axis=1), K)


def better(
    ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64], *, caution: float
) -> bool:
    """Says whether the paired gain of `ours` exceeds `caution` standard errors of itself."""
    gain = ours - theirs
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.inf
    return bool(gain.mean() > caution * error) and bool(gain.mean() > 0)


def fuse(signals: Mapping[str, Scores], weights: Mapping[str, float]) -> Scores:
    """Adds up standardised signals `(q, c)` with their weights; weights of 0 cost nothing."""
    used = {name: weight for name, weight in weights.items() if weight > 0}
    first, *rest = used
    total = np.float32(used[first]) * signals[first]
    for name in rest:
        total += np.float32(used[name]) * signals[name]
    return total


@dataclass(frozen=True, eq=False)
class Pool:
    """The candidates of each query that can reach a fused top 10, for a fast search.

    Attributes:
        signals: Standardised scores by name, `(q, p)`; minus infinity in unused places.
        targets: `(q, p)`.
        n_targets: All targets of each query, in the pool or not, `(q,)`.
    """

    signals: dict[str, Scores]
    targets: Bools
    n_targets: npt.NDArray[np.int64]

    @staticmethod
    def of(signals: Mapping[str, Scores], queries: Queries) -> Pool:
        """Takes the best candidates of every single signal."""
        reach = np.zeros(queries.targets.shape, dtype=np.bool_)
        k = min(_POOL, reach.shape[1])
        for scores in signals.values():
            best = torch.topk(torch.from_numpy(masked(scores, queries)), k).indices.numpy()
            np.put_along_axis(reach, best, values=True, axis=1)
        if queries.allowed is not None:
            reach &= queries.allowed
        rows, columns = np.nonzero(reach)
        sizes = reach.sum(axis=1)
        place = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        shape = (len(queries), int(sizes.max(initial=1)))
        pooled = {}
        for name, scores in signals.items():
            pooled[name] = np.full(shape, -np.inf, dtype=np.float32)
            pooled[name][rows, place] = scores[rows, columns]
        targets = np.zeros(shape, dtype=np.bool_)
        targets[rows, place] = queries.targets[rows, columns]
        return Pool(pooled, targets, queries.targets.sum(axis=1))

    def ndcg(self, weights: Mapping[str, float]) -> npt.NDArray[np.float64]:
        """NDCG@10 of each query under the weights, `(q,)`."""
        scores = fuse(self.signals, weights)
        best = torch.topk(torch.from_numpy(scores), min(K, scores.shape[1])).indices.numpy()
        return ndcg(hits(best, self.targets), self.n_targets, K)


def tune_weights(
    signals: Mapping[str, Scores],
    queries: Queries,
    *,
    starts: Sequence[Mapping[str, float]] = (),
    caution: float = CAUTION,
) -> dict[str, float]:
    """Finds weights by coordinate search on the validation window.

    Args:
        signals: Standardised scores of the validation queries by name, `(q, c)`.
        queries: The validation queries.
        starts: Weights to start from besides each single signal; the best start is taken.
        caution: Standard errors by which a change must win.

    Returns:
        A weight for every signal, never worse on `queries` than the best start.
    """
    pool = Pool.of(signals, queries)
    singles = [{name: 1.0} for name in signals]
    ranked = [(pool.ndcg(start), dict(start)) for start in [*starts, *singles]]
    value, weights = max(ranked, key=lambda pair: float(pair[0].mean()))
    weights = {name: weights.get(name, 0.0) for name in signals}
    start = dict(weights)
    for _ in range(_CYCLES):
        before = dict(weights)
        for name in signals:
            value, weights = _best_step(pool, name, value, weights, caution=caution)
        if weights == before:
            break
    if (
        ndcg_of(fuse(signals, weights), queries).mean()
        < ndcg_of(fuse(signals, start), queries).mean()
    ):
        return start
    return weights


def _best_step(
    pool: Pool,
    name: str,
    value: npt.NDArray[np.float64],
    weights: dict[str, float],
    *,
    caution: float,
) -> tuple[npt.NDArray[np.float64], dict[str, float]]:
    """Tries all weights of one signal and keeps the best if it clearly wins."""
    best_value, best = value, weights
    for weight in WEIGHTS:
        trial = {**weights, name: weight}
        if weight == weights[name] or not any(trial.values()):
            continue
        trial_value = pool.ndcg(trial)
        if trial_value.mean() > best_value.mean():
            best_value, best = trial_value, trial
    return (best_value, best) if better(best_value, value, caution=caution) else (value, weights)
