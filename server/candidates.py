"""The items that targets compete with in a round's training softmax: public, the same for all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shared.messages import FloatArray
from shared.model.popularity import smoothed


def draw_candidates(
    n_items: int, *, size: int, seed: int, server_round: int, popularity: FloatArray | None
) -> npt.NDArray[np.int64]:
    """Draws item codes with replacement.

    Args:
        n_items: Items of the public catalogue.
        size: Number of draws.
        seed: Public seed of the run.
        server_round: From 1.
        popularity: Estimate from paid counts `(n_items,)`; None draws uniformly. Candidates as
            popular as targets leave the adapter to learn what goes with what.

    Returns:
        Codes `(size,)`.
    """
    rng = np.random.default_rng([seed, server_round])
    if popularity is None or not popularity.any():
        return rng.integers(0, n_items, size)
    weight = smoothed(popularity).astype(np.float64)
    return rng.choice(n_items, size, p=weight / weight.sum())
