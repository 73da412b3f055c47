"""Item vectors in one byte a number: a quarter of the memory to read for each answer.

Each vector has its own scale. A direction is rounded to two such numbers. The products are whole
numbers and exact (`torch._int_mm`), so that the only errors are those of rounding, and bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float32]
_LARGEST = 127


@dataclass(frozen=True, eq=False)
class Codes:
    """Rounded vectors.

    Attributes:
        codes: int8, `(n_items, d)`.
        scale: What a step of each vector is worth, `(n_items,)`.
        error: Length of the largest difference between a vector and its rounded form.
        length: Length of the longest rounded vector.
    """

    codes: npt.NDArray[np.int8]
    scale: Floats
    error: float
    length: float

    @classmethod
    def of(cls, values: Floats) -> Self:
        """Rounds vectors `(n_items, d)`."""
        codes, scale = _rounded(values)
        decoded = codes * scale[:, None]
        error = np.linalg.norm(values - decoded, axis=1).max(initial=0.0)
        length = np.linalg.norm(decoded, axis=1).max(initial=0.0)
        return cls(codes, scale, float(error), float(length))

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Any) -> Floats:
        found: Floats = self.codes[rows] * self.scale[rows][..., None]
        return found

    def scores(self, direction: Floats) -> tuple[Floats, float]:
        """Returns rounded products with a direction `(d,)`, and how far off one can be at most."""
        high, step = _rounded(direction[None])
        rest = direction - (high * step[:, None])[0]
        low, fine = _rounded(rest[None])
        # Two digits of the direction cost no more than one, with which torch 2.13 gives garbage.
        digits = torch.from_numpy(np.concatenate([high, low]))
        products = torch._int_mm(digits, torch.from_numpy(self.codes).T).numpy()
        scores: Floats = np.concatenate([step, fine]) @ products.astype(np.float32) * self.scale
        missed = float(np.linalg.norm(rest - (low * fine[:, None])[0]))
        slack = self.error * float(np.linalg.norm(direction)) + self.length * missed
        return scores, 1.001 * slack  # float32 rounding beside

    def put(self, rows: npt.NDArray[np.int64], values: Floats, *, n_items: int) -> Self:
        """Returns codes of `n_items` vectors with others in the place of some rows."""
        news = type(self).of(values)
        codes = np.zeros((n_items, self.codes.shape[1]), dtype=np.int8)
        scale = np.zeros(n_items, dtype=np.float32)
        codes[: len(self)], scale[: len(self)] = self.codes[:n_items], self.scale[:n_items]
        codes[rows], scale[rows] = news.codes, news.scale
        return type(self)(codes, scale, max(self.error, news.error), max(self.length, news.length))


def _rounded(values: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    scale = (np.abs(values).max(axis=1, initial=0.0) / _LARGEST).astype(np.float32)
    steps = values / np.maximum(scale, np.float32(1e-30))[:, None]
    return np.rint(steps).astype(np.int8), scale
