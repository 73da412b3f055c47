"""Vectors of item texts and search texts, by the encoder and base of the loaded adapter."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from client.serving.space import HALF_LIFE, Space
from client.serving.vectors import ItemVectors
from shared.config import ModelSettings
from shared.errors import ModelError
from shared.model.adapter_folder import SavedAdapter, read_adapter
from shared.model.encoder_source import text_space
from shared.model.projection import PROJECTION, projection_matrix
from shared.model.text_cache import Progress, encode_texts
from shared.model.text_encoder import TextEncoder
from shared.model.whitening import Whitening, fit_whitening

Floats = npt.NDArray[np.float32]
ALIKE, MANY = 0.9, 20
"""Length of the mean item vector at most, and the number of items from which it says something."""
_ADAPTER_HALF_LIFE = {"days": 120.0, "order": 3.0}


@dataclass(frozen=True, eq=False)
class Base:
    """The frozen base that item vectors belong to.

    Attributes:
        settings: Encoder and token limit.
        whitening: From text vectors to item vectors.
        base_hash: Of both.
    """

    settings: ModelSettings
    whitening: Whitening
    base_hash: str


class TextVectors:
    """Turns texts into item vectors; the encoder is loaded when a text is not in the cache.

    Args:
        base: The frozen base.
    """

    def __init__(self, base: Base) -> None:
        self.base = base
        self._loading = threading.Lock()
        self._encoder: TextEncoder | None = None
        self._query = lru_cache(maxsize=4096)(self._encode_one)

    def of_items(self, texts: Sequence[str], progress: Progress | None = None) -> Floats:
        """Encodes item texts, kept in the cache on disk: `(n, dim)`.

        Raises:
            ModelError: To this base all texts look alike, so that it fits another catalogue.
        """
        found = encode_texts(texts, settings=self.base.settings, progress=progress)
        vectors = self.base.whitening.apply(found)
        alike = float(np.linalg.norm(vectors.mean(axis=0))) if len(vectors) else 0.0
        if alike > ALIKE and len(vectors) >= MANY:
            raise ModelError(
                f"adapter: its base does not fit this catalogue: mean cosine of {len(vectors)} "
                f"item texts {alike**2:.2f} must be at most {ALIKE**2:.2f}; take an adapter "
                "that was trained on a catalogue like this one, or serve without --adapter"
            )
        return vectors

    def of_query(self, text: str) -> Floats:
        """Encodes a search text or a new item, kept in memory alone: `(dim,)`."""
        found: Floats = self._query(text)
        return found

    def warm(self) -> None:
        """Loads the encoder, so that the first search does not wait for it."""
        self._query("warm")

    def _encode_one(self, text: str) -> Floats:
        with self._loading:
            if self._encoder is None:
                self._encoder = _load(self.base.settings)
            settings = self.base.settings
            cut = text[: settings.max_tokens * 100].encode("utf-8", "replace").decode()
            if not cut.strip():
                return np.zeros(self.base.whitening.dim, dtype=np.float32)
            chunks = self._encoder.encode([cut], max_tokens=settings.max_tokens)
            vector = next(iter(chunks))[1]
        found: Floats = self.base.whitening.apply(vector)[0]
        return found


def _load(settings: ModelSettings) -> TextEncoder:
    from shared.model.encoder import load_encoder

    return load_encoder(settings.encoder, revision=settings.revision)


def catalogue_base(texts: Sequence[str], settings: ModelSettings) -> Base:
    """Fits the base to the shop's own catalogue, for a shop without an adapter.

    Raises:
        ModelError: The encoder is not usable, or the texts are all alike.
    """
    whitening = fit_whitening(encode_texts(texts, settings=settings), dim=settings.dim)
    fitted = whitening.fit_settings(settings)
    return Base(fitted, whitening, whitening.base_hash(text_space(fitted)))


def read_adapter_base(folder: Path) -> tuple[SavedAdapter, Base]:
    """Reads an adapter and the base that it carries.

    Raises:
        ModelError: The folder is damaged, the installed encoder is another one than the adapter's,
            or the adapter changes layers of the encoder.
    """
    saved = read_adapter(folder)
    return saved, take_base(saved, folder)


def take_base(saved: SavedAdapter, folder: Path) -> Base:
    """Returns the base of an adapter that can be served.

    Args:
        saved: The adapter.
        folder: Where it lies, for messages.

    Raises:
        ModelError: The installed encoder is another one, or its layers are adapted.
    """
    if set(saved.settings.target_modules) != {PROJECTION}:
        raise ModelError(
            f"adapter={folder}: target_modules={','.join(saved.settings.target_modules)} changes "
            f"the encoder, serving takes {PROJECTION} alone; train with --set "
            f'model.target_modules=["{PROJECTION}"]'
        )
    found = text_space(saved.settings)
    if found != saved.text_space:
        raise ModelError(
            f"adapter={folder}: text space {saved.text_space[:16]}… expected, encoder="
            f"{saved.settings.encoder} gives {found[:16]}…; install the encoder it was trained with"
        )
    return Base(saved.settings, saved.whitening, saved.base_hash)


def space_of_adapter(saved: SavedAdapter, vectors: ItemVectors, *, name: str, unit: str) -> Space:
    """Puts an adapter and item vectors of its base together."""
    return Space(
        vectors=vectors,
        projection=projection_matrix(saved.arrays, saved.settings),
        half_life=saved.settings.half_life or _ADAPTER_HALF_LIFE[unit],
        text_half_life=HALF_LIFE[unit],
        base_hash=saved.base_hash,
        adapter=name,
    )


def plain_space(base: Base, vectors: ItemVectors, *, unit: str) -> Space:
    """Puts item vectors together with no adapter: zero-shot text alone."""
    return Space(
        vectors=vectors,
        projection=None,
        half_life=_ADAPTER_HALF_LIFE[unit],
        text_half_life=HALF_LIFE[unit],
        base_hash=base.base_hash,
    )
