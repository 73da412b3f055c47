"""Item vectors, exact and rounded to one byte a number, and the profile space among them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from shared.model.profile_space import project_profiles

Floats = npt.NDArray[np.float32]
_LARGEST = 127


@dataclass(frozen=True, eq=False)
class QuantizedVectors:
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
        decoded_rows: Floats = self.codes[rows] * self.scale[rows][..., None]
        return decoded_rows

    def scores(self, direction: Floats) -> tuple[Floats, float]:
        """Returns rounded products with a direction `(d,)`, and how far off one can be at most."""
        # The direction is split in two int8 digits: with one, its rounding error would dominate the
        # bound, and most of the catalogue would stay a candidate.
        high, step = _rounded(direction[None])
        rest = direction - (high * step[:, None])[0]
        low, fine = _rounded(rest[None])
        # Two digits of the direction cost no more than one, with which torch 2.13 gives garbage.
        digits = torch.from_numpy(np.concatenate([high, low]))
        products = torch._int_mm(digits, torch.from_numpy(self.codes).T).numpy()
        scores: Floats = np.concatenate([step, fine]) @ products.astype(np.float32) * self.scale
        missed = float(np.linalg.norm(rest - (low * fine[:, None])[0]))
        slack = self.error * float(np.linalg.norm(direction)) + self.length * missed
        # |x.d - x'.d'| <= |x - x'| |d| + |x'| |d - d'|; the factor covers float32 rounding.
        return scores, 1.001 * slack

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


Doubles = npt.NDArray[np.float64]
_BLOCK = 8192


@dataclass(frozen=True, eq=False)
class ItemVectors:
    """Unit or zero vectors by row of the item table.

    Rounded products name the items that can be among the best, exact ones rank them. With int8
    alone there are no exact ones: an item takes a quarter of the memory, and a score is rounded.

    Attributes:
        values: `(n_items, d)`; None with int8 alone.
        codes: The same in one byte a number.
        total: Sum of all vectors, `(d,)`.
        gram: Sum of their outer products, `(d, d)`.
    """

    values: Floats | None
    codes: QuantizedVectors
    total: Doubles
    gram: Doubles

    @classmethod
    def of(cls, values: Floats, *, int8: bool = False) -> Self:
        """Takes vectors `(n_items, d)` and sums them up."""
        values = np.ascontiguousarray(values, dtype=np.float32)
        codes = QuantizedVectors.of(values)
        scored = codes[:] if int8 else values
        return cls(None if int8 else values, codes, *_sums(scored))

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return int(self.codes.codes.shape[1])

    def __getitem__(self, rows: Any) -> Floats:
        vectors: Floats = self.codes[rows] if self.values is None else self.values[rows]
        return vectors

    def scores(self, direction: Floats) -> Floats:
        """Returns the product of each vector with a direction `(d,)`: `(n_items,)`."""
        if self.values is None:
            return self.codes.scores(direction)[0]
        scores: Floats = self.values @ direction
        return scores

    def rough(self, direction: Floats) -> tuple[Floats, float]:
        """Returns approximate products, and the largest error that one can have.

        With int8 alone there are no others, and the error is 0.
        """
        scores, slack = self.codes.scores(direction)
        return scores, 0.0 if self.values is None else slack

    def sums(self, direction: Floats) -> tuple[float, float]:
        """Returns the sum of all scores of a direction, and of their squares."""
        wide = direction.astype(np.float64)
        return float(self.total @ wide), float(wide @ self.gram @ wide)

    def put(self, rows: npt.NDArray[np.int64], vectors: Floats, *, n_items: int) -> Self:
        """Returns vectors of `n_items` items with others in the place of some rows.

        Args:
            rows: Rows to replace, `(n,)`; of one that is there twice the last counts.
            vectors: In their place, `(n, d)`.
            n_items: Rows afterwards.
        """
        rows, places = _last_of_each(rows)
        vectors = vectors[places]
        known = rows[rows < len(self)]
        before, outer_before = _sums(self[known])
        codes = self.codes.put(rows, vectors, n_items=n_items)
        values = None
        if self.values is not None:
            values = np.zeros((n_items, self.dim), dtype=np.float32)
            values[: len(self)] = self.values[:n_items]
            values[rows] = vectors
        after, outer = _sums(codes[rows] if values is None else values[rows])
        # Sums are corrected, not computed anew: an event of one item must not cost a pass over all.
        total = self.total - before + after
        return type(self)(values, codes, total, self.gram - outer_before + outer)


def _last_of_each(
    rows: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.intp]]:
    """Returns distinct rows and the last place of each: a row counted twice spoils the sums."""
    distinct, backwards = np.unique(rows[::-1], return_index=True)
    return distinct, len(rows) - 1 - backwards


def _sums(values: Floats) -> tuple[Doubles, Doubles]:
    gram = np.zeros((values.shape[1], values.shape[1]))
    for first in range(0, len(values), _BLOCK):
        # float64 by block: float32 sums of a million unit vectors lose the variance of a signal.
        block = values[first : first + _BLOCK].astype(np.float64)
        gram += block.T @ block
    return values.sum(axis=0, dtype=np.float64), gram


@dataclass(frozen=True, eq=False)
class ProfileSpace:
    """Item vectors and how histories become profiles among them; replaced as a whole.

    Attributes:
        vectors: Of all items.
        projection: The adapter's matrix `(d, d + 1)`; None where no adapter is loaded.
        half_life: Of an event in the adapter's profile, in the unit of time.
        text_half_life: Of an event in the zero-shot text profile.
        base_hash: Base that the vectors belong to.
        text_map: The shop's own map of text profiles `(d, d)`; None leaves them.
        adapter: What people read of it: the adapter's folder, or "release N" of a node; "" where no
            adapter is loaded.
    """

    vectors: ItemVectors
    projection: Floats | None
    half_life: float
    text_half_life: float
    base_hash: str = ""
    adapter: str = ""
    text_map: Floats | None = None

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

    def mapped_profile(self, history: Floats) -> Floats:
        """Maps a text profile as the shop's users have taught it."""
        unit = self.text_profile(history)
        if self.text_map is None:
            return unit
        mapped: Floats = unit @ self.text_map
        return mapped

    def global_profile(self, history: Floats) -> Floats:
        """Projects a mean history vector by the adapter."""
        if self.projection is None:
            return np.zeros_like(history)
        return project_profiles(self.projection, history)

    def put(self, rows: npt.NDArray[np.int64], vectors: Floats, *, n_items: int) -> ProfileSpace:
        """Returns a space with other vectors for some items, or with room for new ones."""
        return replace(self, vectors=self.vectors.put(rows, vectors, n_items=n_items))
