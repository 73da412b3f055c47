"""Co-purchase as a run hands it on: paid sums, and their estimate at no further cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from shared.messages import CodesArray, FloatArray
from shared.releases.pair_estimate import estimate_pairs
from shared.releases.pairs import Values

LEAST_POPULARITY = 1e-6
"""Floor of an item's popularity, so that every pair has a bin."""


@dataclass(frozen=True, eq=False)
class PairRelease:
    """How often head items are taken together, over all shops.

    Attributes:
        head: Item codes, ascending `(h,)`, at least 2.
        noisy: Sum of the shops' noisy pair sums: the upper triangle by rows, diagonal left out,
            `(h (h - 1) / 2,)`.
        std: Standard deviation of the noise in `noisy`.
        vectors: Public vectors of the head, unit or zero length, `(h, dim)`.
        popularity: Positive estimate of the head's popularity from paid counts, `(h,)`.
    """

    head: CodesArray
    noisy: FloatArray
    std: float
    vectors: npt.NDArray[np.floating]
    popularity: npt.NDArray[np.floating]

    def estimate(self, own: Values | None = None) -> FloatArray:
        """Estimates the pair sums, none below 0, `(h (h - 1) / 2,)`, float32.

        Args:
            own: Clean pair sums of a shop that took part, which takes them out to learn what the
                others add to what it has; then the estimate is of the others and stays in the shop.

        Guarantee:
            Without `own`, post-processing of what was paid for, at no further cost. With `own`, a
            function of the shop's clean pairs: private to the shop, not differentially private.
        """
        return self._of_all if own is None else self._estimate(self.noisy - own)

    @cached_property
    def _of_all(self) -> FloatArray:
        return self._estimate(self.noisy)

    def _estimate(self, noisy: npt.NDArray[np.floating]) -> FloatArray:
        return estimate_pairs(
            noisy, std=self.std, vectors=self.vectors, popularity=self.popularity
        ).astype(np.float32)


def release_pairs(
    noisy: FloatArray,
    *,
    head: CodesArray,
    std: float,
    item_vectors: FloatArray,
    popularity: FloatArray,
) -> PairRelease | None:
    """Puts the shops' summed pairs beside what their estimate needs, all of it public or paid.

    Args:
        noisy: Sum of the shops' noisy pair sums, `(h (h - 1) / 2,)`.
        head: Item codes, ascending `(h,)`.
        std: Standard deviation of the noise in the sum.
        item_vectors: Public vectors of the catalogue `(n_items, dim)`.
        popularity: Estimate from paid counts `(n_items,)`.

    Returns:
        The release; None where the head has fewer than 2 items, so that there is no pair.
    """
    if len(head) < 2:
        return None
    vectors = np.asarray(item_vectors[head], dtype=np.float64)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return PairRelease(
        head=head,
        noisy=noisy,
        std=std,
        vectors=vectors / np.where(norms > 0, norms, 1.0),
        popularity=np.maximum(popularity[head].astype(np.float64), LEAST_POPULARITY),
    )
