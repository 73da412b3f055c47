"""Accuracy, coverage, diversity and novelty of full rankings, one value a user.

Scores are `(n_queries, n_candidates)`; minus infinity marks what must not be recommended. Equal
scores rank by candidate index, so that a ranking never depends on the sort algorithm.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Ranks = npt.NDArray[np.int64]

NOTHING = -1
"""Marks a place of a ranking for which no candidate was left."""


def top_k(scores: Floats, k: int) -> Ranks:
    """Ranks the best `k` candidates of each query.

    Args:
        scores: `(q, c)`, without NaN; minus infinity is never returned.
        k: Length of the ranking; shorter where there are fewer candidates.

    Returns:
        Candidate indices `(q, min(k, c))`, best first, equal scores by index, `NOTHING` where a
        query has no further candidate.

    Raises:
        ValueError: Where a score is NaN.
    """
    q, c = scores.shape
    k = min(k, c)
    if q == 0 or k == 0:
        return np.empty((q, k), dtype=np.int64)
    if np.isnan(scores.max()):
        raise ValueError(f"scores ({q}, {c}) hold NaN; every candidate needs a number or -inf")
    # NumPy's partition takes time quadratic in ties, of which sparse scores are full.
    best = torch.topk(torch.from_numpy(scores), min(k + 1, c))
    values, ranked = best.values.numpy(), best.indices.numpy()[:, :k]
    tied = np.flatnonzero((values[:, 1:] == values[:, :-1]).any(axis=1))
    ranked[tied] = _top_k_of_ties(scores[tied], values[tied, k - 1, None], k)
    ranked[np.isneginf(values[:, :k])] = NOTHING
    return ranked


def _top_k_of_ties(scores: Floats, kth: Floats, k: int) -> Ranks:
    """Ranks by score, then index, given each query's `k`-th best score `(q, 1)`."""
    above, ties = scores > kth, scores == kth
    room = k - above.sum(axis=1)
    crowded = np.flatnonzero(ties.sum(axis=1) > room)
    first = np.cumsum(ties[crowded], axis=1, dtype=np.int32) <= room[crowded, None]
    ties[crowded] &= first
    columns = np.nonzero(above | ties)[1].reshape(len(scores), k)
    values = np.take_along_axis(scores, columns, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def hits(ranked: Ranks, targets: Bools) -> Bools:
    """Says for each place of a ranking `(q, k)` whether it holds a target of `(q, c)`."""
    is_target: Bools = np.take_along_axis(targets, np.maximum(ranked, 0), axis=1) & (
        ranked != NOTHING
    )
    return is_target


def ndcg(is_target: Bools, n_targets: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.float64]:
    """Normalised discounted cumulative gain at `k`, binary relevance.

    The ideal ranking puts `min(k, n_targets)` targets first, so 1 is always in reach
    (https://doi.org/10.1145/582415.582418).

    Args:
        is_target: Output of `hits`, `(q, >= min(k, c))`.
        n_targets: Targets of each query, `(q,)`, at least 1.
        k: Places that count.

    Returns:
        `(q,)` in [0, 1].
    """
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)[np.minimum(n_targets, k) - 1]
    shown = is_target[:, :k]
    gain = np.asarray(shown @ discount[: shown.shape[1]], dtype=np.float64)
    value: npt.NDArray[np.float64] = np.divide(gain, ideal)
    return value


def hit_rate(is_target: Bools, k: int) -> npt.NDArray[np.float64]:
    """1 for a query with a target among its first `k` places, else 0: `(q,)`."""
    return np.asarray(is_target[:, :k].any(axis=1), dtype=np.float64)


def recall(is_target: Bools, n_targets: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.float64]:
    """Share of all targets of a query that its first `k` places hold: `(q,)`."""
    share: npt.NDArray[np.float64] = is_target[:, :k].sum(axis=1) / n_targets
    return share


def diversity(ranked: Ranks, vectors: Floats) -> npt.NDArray[np.float64]:
    """Intra-list diversity: 1 minus the mean cosine of all pairs of a ranking.

    Args:
        ranked: `(q, k)` from `top_k`.
        vectors: Candidates' text vectors `(c, d)`; a zero vector has cosine 0 to everything.

    Returns:
        `(q,)`; NaN for a ranking of fewer than two items.
    """
    shown = vectors[np.maximum(ranked, 0)] * (ranked != NOTHING)[..., None]
    norms = np.linalg.norm(shown, axis=2, keepdims=True)
    shown = np.divide(shown, norms, out=np.zeros_like(shown), where=norms > 0)
    n = (ranked != NOTHING).sum(axis=1)
    total = np.square(shown.sum(axis=1)).sum(axis=1) - np.square(shown).sum(axis=(1, 2))
    pairs = np.where(n > 1, n * (n - 1), np.nan)
    spread: npt.NDArray[np.float64] = 1.0 - total / pairs
    return spread


def novelty(ranked: Ranks, share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean self-information of a ranking: -log2 of each item's share of the shop's users.

    Args:
        ranked: `(q, k)` from `top_k`.
        share: Share of the shop's users who had each candidate before, `(c,)`, above 0.

    Returns:
        Bits `(q,)`; NaN for an empty ranking (https://doi.org/10.1145/1864708.1864743).
    """
    shown = ranked != NOTHING
    bits = np.where(shown, -np.log2(share)[np.maximum(ranked, 0)], 0.0)
    n = shown.sum(axis=1)
    mean: npt.NDArray[np.float64] = bits.sum(axis=1) / np.where(n > 0, n, np.nan)
    return mean
