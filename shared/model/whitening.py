"""Item vectors from text vectors: centred, whitened, of unit length.

Text encoders put all texts of one shop into a narrow cone; whitening spreads them so that cosine
tells items apart (https://arxiv.org/abs/2103.15316). It is fitted on the public catalogue alone,
every item counting once, never on purchases: it costs no privacy.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.config import ModelSettings
from shared.errors import ModelError

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
    texts = vectors[vectors.any(axis=1)].astype(np.float64)
    mean = texts.mean(axis=0) if len(texts) else np.zeros(vectors.shape[1])
    centred = texts - mean
    values, axes = np.linalg.eigh(centred.T @ centred / max(len(texts), 1))
    values, axes = values[::-1], axes[:, ::-1]
    noise = max(values[0] * SMALLEST_EIGENVALUE, (np.abs(mean).max() * 1e-6) ** 2)
    spanned = int((values > noise).sum())
    if spanned == 0:
        raise ModelError(
            f"catalogue: {len(texts)} of {len(vectors)} items have text and all texts are alike, "
            "at least 2 different ones are needed; add a text column to the items"
        )
    kept = min(dim, spanned)
    note = "" if kept == dim else f"dim={dim} reduced to {kept}: the items' texts span no more"
    scale = 1.0 / np.sqrt(values[:kept] + REGULARISATION * values.mean())
    components = axes[:, :kept] * _signs(axes[:, :kept]) * scale
    return Whitening(mean.astype(np.float32), components.astype(np.float32), note)


def _signs(axes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Makes each axis' largest entry positive: `(dim,)` of 1 and -1, so that runs agree."""
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)[0]
    return np.where(largest < 0, -1.0, 1.0)
