"""The profile model as the service uses it: item vectors and the trained projection."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from client.serving.vectors import ItemVectors
from shared.model.projection import project_profiles

Floats = npt.NDArray[np.float32]
HALF_LIFE = {"days": 60.0, "order": 3.0}
"""Of an event in the zero-shot text profile, by unit of time."""


@dataclass(frozen=True, eq=False)
class Space:
    """Item vectors and how histories become profiles among them; replaced as a whole.

    Attributes:
        vectors: Of all items.
        projection: The adapter's matrix `(d, d + 1)`; None where no adapter is loaded.
        half_life: Of an event in the adapter's profile, in the unit of time.
        text_half_life: Of an event in the zero-shot text profile.
        base_hash: Base that the vectors belong to.
        adapter: Name of the adapter's folder, "" for none.
    """

    vectors: ItemVectors
    projection: Floats | None
    half_life: float
    text_half_life: float
    base_hash: str = ""
    adapter: str = ""

    @property
    def has_adapter(self) -> bool:
        """Whether there is a global profile model."""
        return self.projection is not None

    @property
    def model(self) -> str:
        """Names what fusion weights were learned with: base and adapter, by content."""
        state = hashlib.sha256(self.base_hash.encode())
        if self.projection is not None:
            state.update(np.ascontiguousarray(self.projection).tobytes())
        return state.hexdigest()

    def text_profile(self, history: Floats) -> Floats:
        """Scales a mean history vector to unit length."""
        return history / max(float(np.linalg.norm(history)), 1e-12)

    def global_profile(self, history: Floats) -> Floats:
        """Projects a mean history vector by the adapter."""
        if self.projection is None:
            return np.zeros_like(history)
        return project_profiles(self.projection, history)

    def put(self, rows: npt.NDArray[np.int64], vectors: Floats, *, n_items: int) -> Space:
        """Returns a space with other vectors for some items, or with room for new ones."""
        return replace(self, vectors=self.vectors.put(rows, vectors, n_items=n_items))
