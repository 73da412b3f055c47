"""The trained profile projection in plain numpy, for scoring without torch.

An adapter on `profile_projection` is one matrix: `W = [I | 0] + (alpha / rank) B A`, and a
profile is `W` times the history vector, scaled to unit length, with a 1 appended.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from shared.config import ModelSettings
from shared.errors import ModelError

PROJECTION = "profile_projection"
"""Name of the module in the profile model."""
PROJECTION_A = f"base_model.model.{PROJECTION}.lora_A.weight"
"""PEFT's name of A, `(rank, dim + 1)`."""
PROJECTION_B = f"base_model.model.{PROJECTION}.lora_B.weight"
"""PEFT's name of B, `(dim, rank)`."""

Array = npt.NDArray[np.float32]


def projection_matrix(arrays: Mapping[str, Array], settings: ModelSettings) -> Array:
    """Returns the effective projection `(dim, dim + 1)` of an adapter.

    Args:
        arrays: Adapter matrices under PEFT's names; without those of the projection it is the
            base `[I | 0]`.
        settings: `dim`, `rank` and `alpha` of the adapter.

    Raises:
        ModelError: A matrix has another shape than the settings say.
    """
    base = np.eye(settings.dim, settings.dim + 1, dtype=np.float32)
    if PROJECTION_A not in arrays:
        return base
    A, B = arrays[PROJECTION_A], arrays[PROJECTION_B]
    expected = ((settings.rank, settings.dim + 1), (settings.dim, settings.rank))
    if (A.shape, B.shape) != expected:
        raise ModelError(
            f"adapter: A {A.shape} and B {B.shape} must be {expected[0]} and {expected[1]} for "
            f"dim={settings.dim}, rank={settings.rank}; take the settings it was trained with"
        )
    return base + np.float32(settings.alpha / settings.rank) * (B @ A)


def project_profiles(matrix: Array, history_vectors: Array) -> Array:
    """Turns history vectors into profile vectors, as `ProfileModel.profile` does.

    Args:
        matrix: From `projection_matrix`, `(dim, dim + 1)`.
        history_vectors: Weighted sums or means of item vectors, `(..., dim)`; the length of each
            does not matter.

    Returns:
        Profile vectors `(..., dim)`; an empty history (zeros) gets the learnt bias alone.
    """
    lengths = np.linalg.norm(history_vectors, axis=-1, keepdims=True)
    unit = history_vectors / np.maximum(lengths, np.float32(1e-12))
    profiles: Array = (unit @ matrix[:, :-1].T + matrix[:, -1]).astype(np.float32, copy=False)
    return profiles
