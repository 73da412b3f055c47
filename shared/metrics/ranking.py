"""Accuracy, coverage, diversity and novelty of full rankings, one value a user.

Scores are `(n_queries, n_candidates)`; minus infinity marks what must not be recommended. Equal
scores rank by candidate index, so that a ranking never depends on the sort algorithm.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

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
    ranked = np.full((q, k), NOTHING, dtype=np.int64)
    if q and k:
        block = max(1, _BLOCK_CELLS // c)
        for start in range(0, q, block):
            ranked[start : start + block] = _ranked(scores[start : start + block], k)
    return ranked


_BLOCK_CELLS = 250_000
"""Scores that are ranked at once; they stay in a processor's cache."""
_GROUPS = 256
"""Groups of candidates of whose best one the `k`-th best score is bounded."""


def _ranked(scores: Floats, k: int) -> Ranks:
    """Ranks a block of queries."""
    least, crowded = _at_most_kth(scores, k)
    reach = scores >= least[:, None]
    rows = np.flatnonzero(crowded)
    reach[rows] = scores[rows] > least[rows, None]
    cell = np.flatnonzero(reach)
    above = np.bincount(cell // scores.shape[1], minlength=len(scores))
    short = np.flatnonzero(crowded & (above < k) & ~np.isneginf(least))
    if len(short):
        # The k-th best is the bound itself: the first of those that score so much fill the ranking.
        cell = np.concatenate([cell, _first_equal(scores, least, short, k - above)])
    row, column = np.divmod(cell, scores.shape[1])
    order = np.lexsort((column, -scores[row, column], row))
    row, column = row[order], column[order]
    sizes = np.bincount(row, minlength=len(scores))
    place = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    best = place < k
    ranked = np.full((len(scores), k), NOTHING, dtype=np.int64)
    row, column, place = row[best], column[best], place[best]
    ranked[row, place] = np.where(np.isneginf(scores[row, column]), NOTHING, column)
    return ranked


def _at_most_kth(scores: Floats, k: int) -> tuple[Floats, Bools]:
    """Bounds the `k`-th best score of each query from below.

    The best scores of groups of candidates are scores of different candidates, so that the `k`-th
    best of them is no more than the `k`-th best of all: one pass, whatever the ties.

    Returns:
        A score that at least `k` candidates reach, close to the `k`-th best, and whether very many
        have exactly that score, `(q,)` each.

    Raises:
        ValueError: Where a score is NaN.
    """
    q, c = scores.shape
    groups = max(_GROUPS, 4 * k)
    best = scores
    if c >= 2 * groups:
        whole = c // groups * groups
        best = scores[:, :whole].reshape(q, -1, groups).max(axis=1)
        rest = best[:, : c - whole]
        np.maximum(rest, scores[:, whole:], out=rest)
    if np.isnan(best.max()):
        raise ValueError(f"scores ({q}, {c}) hold NaN; every candidate needs a number or -inf")
    ordered = np.sort(best, axis=1)
    least: Floats = ordered[:, -k]
    crowded: Bools = ordered[:, -min(4 * k, ordered.shape[1])] == least
    return least, crowded


def _first_equal(scores: Floats, value: Floats, rows: Ranks, n: Ranks) -> Ranks:
    """Finds the first `n` columns of some rows where these hold their value, as flat indices."""
    c = scores.shape[1]
    width = min(16 * int(n[rows].max()), c)  # mostly enough, as sparse scores are full of zeros
    cells = []
    while len(rows):
        row, column = np.nonzero(scores[rows, :width] == value[rows, None])
        sizes = np.bincount(row, minlength=len(rows))
        place = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        enough = (sizes >= n[rows]) | (width == c)
        taken = enough[row] & (place < n[rows[row]])
        cells.append(rows[row[taken]] * c + column[taken])
        rows, width = rows[~enough], min(8 * width, c)
    return np.concatenate(cells)


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
