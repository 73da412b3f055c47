"""The profile space in plain numpy: item vectors from text vectors, profiles from histories."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.errors import ModelError
from shared.interactions.events import EVENT_TYPES, Events
from shared.settings.run_settings import ModelSettings

REGULARISATION = 1e-3
"""Added to every eigenvalue, as a share of the mean one; damps the smallest directions."""
SMALLEST_EIGENVALUE = 1e-6
"""Directions below this share of the largest eigenvalue are rounding, and left out."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Whitening:
    """A fixed affine map from text vectors to item vectors.

    Attributes:
        mean: Mean text vector of the catalogue, `(width,)`.
        components: Principal axes over the root of their regularised eigenvalue, from the
            largest eigenvalue to the smallest, `(width, dim)`.
        note: What had to differ from the settings, "" for nothing.
    """

    mean: Array
    components: Array
    note: str = ""

    @property
    def dim(self) -> int:
        """Width of item vectors."""
        return int(self.components.shape[1])

    def apply(self, vectors: Array) -> Array:
        """Maps text vectors `(n, width)` to item vectors `(n, dim)` of unit length.

        A zero text vector (an item without text) stays zero.
        """
        items: Array = np.matmul(vectors - self.mean, self.components, dtype=np.float32)
        lengths = np.linalg.norm(items, axis=1, keepdims=True)
        items /= np.maximum(lengths, np.float32(1e-12))
        items[~vectors.any(axis=1)] = 0.0
        return items

    def base_hash(self, text_space: str) -> str:
        """SHA-256 over this map and the space it starts from: adapters fit no other base.

        Only the published arrays count, not the vectors of a catalogue: two machines may round
        text vectors differently and still share one base.
        """
        state = hashlib.sha256(f"fedprofile-base-1\n{text_space}\n{self.dim}\n".encode())
        # Little-endian on every machine, or the same base would have two hashes.
        for array in (self.mean, self.components):
            state.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
        return state.hexdigest()

    def fit_settings(self, settings: ModelSettings) -> ModelSettings:
        """Returns settings that a catalogue too small for `settings.dim` can carry.

        `dim` becomes this map's width, `rank` at most `dim + 1`, and `alpha` keeps its ratio to
        `rank`.
        """
        rank = min(settings.rank, self.dim + 1)
        alpha = settings.alpha * rank / settings.rank
        return settings.model_copy(update={"dim": self.dim, "rank": rank, "alpha": alpha})


def fit_whitening(vectors: Array, *, dim: int) -> Whitening:
    """Fits centre and principal axes to the catalogue's text vectors.

    Args:
        vectors: Text vectors of all items, `(n_items, width)`; zero rows (items without text)
            are left out.
        dim: Width of item vectors that is asked for; fewer where the texts do not span it, which
            `Whitening.note` then says.

    Raises:
        ModelError: Fewer than two different texts.
    """
    # The covariance squares the vectors: in float32 its small eigenvalues would be rounding.
    texts = vectors[vectors.any(axis=1)].astype(np.float64)
    mean = texts.mean(axis=0) if len(texts) else np.zeros(vectors.shape[1])
    centred = texts - mean
    values, axes = np.linalg.eigh(centred.T @ centred / max(len(texts), 1))
    values, axes = values[::-1], axes[:, ::-1]
    # The second bound is float32 rounding of the inputs themselves: texts that are all alike still
    # differ by that, and dividing by such a spread would turn rounding into item vectors.
    noise = max(values[0] * SMALLEST_EIGENVALUE, (np.abs(mean).max() * 1e-6) ** 2)
    spanned = int((values > noise).sum())
    if spanned == 0:
        raise ModelError(
            f"catalogue: {len(texts)} of {len(vectors)} items have text"
            f"{' and all texts are alike' if len(texts) else ''}, at least 2 different ones are "
            "needed",
            remedy="add a file of items with a column of words, such as title or category",
        )
    width = min(dim, spanned)
    note = "" if width == dim else f"dim={dim} reduced to {width}: the items' texts span no more"
    scale = 1.0 / np.sqrt(values[:width] + REGULARISATION * values.mean())
    components = axes[:, :width] * _signs(axes[:, :width]) * scale
    return Whitening(mean.astype(np.float32), components.astype(np.float32), note)


def _signs(axes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Makes each axis' largest entry positive: `(dim,)` of 1 and -1, so that runs agree."""
    # An eigenvector's sign is arbitrary and differs between LAPACK builds.
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)[0]
    return np.where(largest < 0, -1.0, 1.0)


TYPE_WEIGHTS = {
    "purchase": 1.0,
    "review": 1.0,
    "rating": 1.0,
    "cart": 0.7,
    "search": 0.5,
    "click": 0.3,
    "view": 0.2,
}
"""Public weights of the event types, fixed in advance and never fitted."""

_TYPE_WEIGHTS = np.array([TYPE_WEIGHTS[name] for name in EVENT_TYPES], dtype=np.float32)


def profile_weights(
    events: Events, *, now: float | npt.NDArray[np.float64], half_life: float
) -> npt.NDArray[np.float32]:
    """Weighs events by type, recency and quantity.

    Args:
        events: Events of any users, `(n,)`.
        now: Time from which recency is counted, one for all or `(n,)`, in the unit of
            `events.time`.
        half_life: Time after which an event counts half, same unit.

    Returns:
        Non-negative weights `(n,)`: `weight * type * 2^(-age / half_life) * log2(1 + quantity)`.
    """
    age = np.maximum(np.asarray(now, dtype=np.float64) - events.time, 0.0)
    recency = np.exp2(-age / half_life).astype(np.float32)
    amount = np.log2(1.0 + np.maximum(events.quantity, 0.0)).astype(np.float32)
    kind = _TYPE_WEIGHTS[events.event_type]
    weights: npt.NDArray[np.float32] = events.weight * kind * recency * amount
    return weights


PROJECTION = "profile_projection"
"""Name of the module in the profile model."""
PROJECTION_A = f"base_model.model.{PROJECTION}.lora_A.weight"
"""PEFT's name of A, `(rank, dim + 1)`."""
PROJECTION_B = f"base_model.model.{PROJECTION}.lora_B.weight"
"""PEFT's name of B, `(dim, rank)`."""


def projection_matrix(arrays: Mapping[str, Array], settings: ModelSettings) -> Array:
    """Returns the effective projection `(dim, dim + 1)` of an adapter.

    Args:
        arrays: Adapter matrices under PEFT's names; without those of the projection it is the
            base `[I | 0]`.
        settings: `dim`, `rank` and `alpha` of the adapter.

    Raises:
        ModelError: A matrix is missing, or has another shape than the settings say.
    """
    base = np.eye(settings.dim, settings.dim + 1, dtype=np.float32)
    if PROJECTION_A not in arrays:
        return base
    if PROJECTION_B not in arrays:
        raise ModelError(
            f"adapter: lora_B of {PROJECTION} is missing", remedy="copy the whole folder again"
        )
    A, B = arrays[PROJECTION_A], arrays[PROJECTION_B]
    expected = ((settings.rank, settings.dim + 1), (settings.dim, settings.rank))
    if (A.shape, B.shape) != expected:
        raise ModelError(
            f"adapter: A {A.shape} and B {B.shape} must be {expected[0]} and {expected[1]} for "
            f"dim={settings.dim}, rank={settings.rank}",
            remedy="take the settings it was trained with",
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
