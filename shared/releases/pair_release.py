"""The co-purchase estimate as a run hands it on: public, made from paid sums at no cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared.messages import CodesArray, FloatArray
from shared.releases.pair_estimate import estimate_pairs

LEAST_POPULARITY = 1e-6
"""Floor of an item's popularity, so that every pair has a bin."""


@dataclass(frozen=True, eq=False)
class PairRelease:
    """How often head items are taken together, over all shops.

    Attributes:
        head: Item codes, ascending `(h,)`, at least 2.
        estimate: Estimated pair sums, none below 0: the upper triangle by rows, diagonal left out,
            `(h (h - 1) / 2,)`, float32.
    """

    head: CodesArray
    estimate: FloatArray


def release_pairs(
    noisy: FloatArray,
    *,
    head: CodesArray,
    std: float,
    item_vectors: FloatArray,
    popularity: FloatArray,
) -> PairRelease | None:
    """Estimates co-purchase from the shops' summed pairs; post-processing, free of privacy cost.

    Args:
        noisy: Sum of the shops' noisy pair sums, `(h (h - 1) / 2,)`.
        head: Item codes, ascending `(h,)`.
        std: Standard deviation of the noise in the sum.
        item_vectors: Public vectors of the catalogue `(n_items, dim)`.
        popularity: Estimate from paid counts `(n_items,)`.

    Returns:
        The estimate; None where the head has fewer than 2 items, so that there is no pair.
    """
    if len(head) < 2:
        return None
    vectors = np.asarray(item_vectors[head], dtype=np.float64)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    estimate = estimate_pairs(
        noisy,
        std=std,
        vectors=vectors / np.where(norms > 0, norms, 1.0),
        popularity=np.maximum(popularity[head].astype(np.float64), LEAST_POPULARITY),
    )
    return PairRelease(head=head, estimate=estimate.astype(np.float32))
