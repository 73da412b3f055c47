"""Vectors of item texts and search texts, by the encoder and base of the loaded adapter."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from client.recommenders.config import CONFIGS
from client.recommenders.tables.item_vectors import ItemVectors, ProfileSpace
from client.serving.features.encoder_scripts import main_script, may_read
from shared.errors import ModelError
from shared.model.adapter_folder import SavedAdapter, read_adapter
from shared.model.encoder_files import find_encoder, text_space
from shared.model.packaged_encoder import PackagedEncoder
from shared.model.profile_space import PROJECTION, Whitening, fit_whitening, projection_matrix
from shared.model.text_encoder import TextEncoder
from shared.model.text_vectors import Progress, encode_texts, load_for_texts
from shared.settings.run_settings import TIME_DEFAULTS, ModelSettings

Floats = npt.NDArray[np.float32]
MAX_MEAN_LENGTH, MIN_ITEMS_TO_JUDGE = 0.9, 20
"""Length of the mean item vector at most, and the number of items from which it says something."""
SMALL = 1000
"""Items of a catalogue whose base is fitted anew when it has grown fourfold."""


@dataclass(frozen=True, eq=False)
class FrozenBase:
    """The frozen base that item vectors belong to.

    Attributes:
        settings: Encoder and token limit.
        whitening: From text vectors to item vectors.
        base_hash: Of both.
        fitted_on: Items that it was fitted to; None for a base that came from elsewhere.
        asked: The settings that it was asked for, before its catalogue bounded its width.
    """

    settings: ModelSettings
    whitening: Whitening
    base_hash: str
    fitted_on: int | None = None
    asked: ModelSettings | None = None

    def outgrown_by(self, n_items: int) -> bool:
        """Says whether a catalogue has become another than the small one it was fitted to."""
        fitted_on = self.fitted_on
        return fitted_on is not None and fitted_on < SMALL and n_items >= max(2, 4 * fitted_on)


class TextVectors:
    """Turns texts into item vectors; the encoder is loaded when a text is not in the cache.

    Args:
        base: The frozen base.
    """

    def __init__(self, base: FrozenBase) -> None:
        self.base = base
        self._loading = threading.Lock()
        self._encoder: TextEncoder | PackagedEncoder | None = None
        self._query = lru_cache(maxsize=4096)(self._encode_one)
        self._may_read = lru_cache(maxsize=64)(partial(may_read, base.settings))

    def of_items(self, texts: Sequence[str], progress: Progress | None = None) -> Floats:
        """Encodes item texts, kept in the cache on disk: `(n, dim)`.

        Raises:
            ModelError: To this base all texts look alike, so that it fits another catalogue.
        """
        if not texts:
            return np.zeros((0, self.base.whitening.dim), dtype=np.float32)
        text_vectors = encode_texts(texts, settings=self.base.settings, progress=progress)
        vectors = self.base.whitening.apply(text_vectors)
        # Vectors of the base's own catalogue have mean 0; a mean of nearly unit length says that
        # the whitening sees one direction in all texts, and similarities mean nothing.
        alike = float(np.linalg.norm(vectors.mean(axis=0))) if len(vectors) else 0.0
        if alike > MAX_MEAN_LENGTH and len(vectors) >= MIN_ITEMS_TO_JUDGE:
            raise ModelError(
                f"its base does not fit this catalogue: mean cosine of {len(vectors)} item texts "
                f"{alike**2:.2f} must be at most {MAX_MEAN_LENGTH**2:.2f}",
                name="adapter",
                remedy="take an adapter that was trained on a catalogue like this one, or run "
                "`fedprofile node serve` without an adapter",
            )
        return vectors

    def of_query(self, text: str) -> Floats:
        """Encodes a search text or a new item, kept in memory alone: `(dim,)`."""
        vector: Floats = self._query(text)
        return vector

    def of_search(self, text: str) -> Floats:
        """Encodes what somebody searches for: `(dim,)`, zeros in a script that is not read.

        Vectors of an encoder that cannot read a text say nothing, and would outweigh its words.
        """
        script = main_script([text])
        if script is None or self._may_read(script):
            return self.of_query(text)
        return np.zeros(self.base.whitening.dim, dtype=np.float32)

    def warm(self) -> None:
        """Loads the encoder, so that the first search does not wait for it."""
        self._query("warm")

    def _encode_one(self, text: str) -> Floats:
        with self._loading:
            if self._encoder is None:
                self._encoder = _load(self.base.settings)
            settings = self.base.settings
            # Cut before tokenizing: a text of many megabytes would hold the lock for minutes. A
            # lone surrogate, which JSON can carry, is not UTF-8 and fails in the tokenizer.
            cut = text[: settings.max_tokens * 100].encode("utf-8", "replace").decode()
            if not cut.strip():
                return np.zeros(self.base.whitening.dim, dtype=np.float32)
            chunks = self._encoder.encode([cut], max_tokens=settings.max_tokens)
            vector = next(iter(chunks))[1]
        item_vector: Floats = self.base.whitening.apply(vector)[0]
        return item_vector


def _load(settings: ModelSettings) -> TextEncoder | PackagedEncoder:
    source = find_encoder(settings.encoder, revision=settings.revision)
    return load_for_texts(source, device="cpu")


def catalogue_base(texts: Sequence[str], settings: ModelSettings) -> FrozenBase:
    """Fits the base to the shop's own catalogue, for a shop without an adapter.

    A catalogue without two different texts has nothing to fit to: its base takes text vectors as
    they are.

    Raises:
        ModelError: The encoder is not usable, or many texts are all alike.
    """
    if len(set(filter(None, texts))) < 2 and len(texts) < MIN_ITEMS_TO_JUDGE:
        whitening = _as_they_are(settings)
    else:
        whitening = fit_whitening(encode_texts(texts, settings=settings), dim=settings.dim)
    fitted = whitening.fit_settings(settings)
    digest = whitening.base_hash(text_space(fitted))
    return FrozenBase(fitted, whitening, digest, fitted_on=len(texts), asked=settings)


def _as_they_are(settings: ModelSettings) -> Whitening:
    """Returns the map that leaves text vectors as they are, cut to the width of item vectors."""
    width = encode_texts(["one"], settings=settings).shape[1]
    dim = min(settings.dim, width)
    mean, axes = np.zeros(width, np.float32), np.eye(width, dim, dtype=np.float32)
    return Whitening(mean, axes, "the catalogue has no two different texts")


def read_adapter_base(folder: Path) -> tuple[SavedAdapter, FrozenBase]:
    """Reads an adapter and the base that it carries.

    Raises:
        ModelError: The folder is damaged, the installed encoder is another one than the adapter's,
            or the adapter changes layers of the encoder.
    """
    saved = read_adapter(folder)
    return saved, base_of_adapter(saved, folder)


def base_of_adapter(saved: SavedAdapter, folder: Path) -> FrozenBase:
    """Returns the base of an adapter that can be served.

    Args:
        saved: The adapter.
        folder: Where it lies, for messages.

    Raises:
        ModelError: The installed encoder is another one, or its layers are adapted.
    """
    if set(saved.settings.target_modules) != {PROJECTION}:
        raise ModelError(
            f"target_modules={','.join(saved.settings.target_modules)} changes the encoder, "
            f"serving takes {PROJECTION} alone",
            name="adapter",
            value=folder,
            remedy=f'train with `fedprofile simulate --set model.target_modules=["{PROJECTION}"]`',
        )
    installed = text_space(saved.settings)
    if installed != saved.text_space:
        raise ModelError(
            f"text space {saved.text_space[:16]}… expected, encoder={saved.settings.encoder} gives "
            f"{installed[:16]}…",
            name="adapter",
            value=folder,
            remedy="install the encoder it was trained with",
        )
    return FrozenBase(saved.settings, saved.whitening, saved.base_hash)


def space_of_adapter(
    saved: SavedAdapter, vectors: ItemVectors, *, name: str, time_unit: str
) -> ProfileSpace:
    """Puts an adapter and item vectors of its base together."""
    return ProfileSpace(
        vectors=vectors,
        projection=projection_matrix(saved.arrays, saved.settings),
        half_life=saved.settings.half_life or TIME_DEFAULTS[time_unit][0],
        text_half_life=CONFIGS[time_unit].text_half_life,
        base_hash=saved.base_hash,
        adapter=name,
    )


def plain_space(base: FrozenBase, vectors: ItemVectors, *, time_unit: str) -> ProfileSpace:
    """Puts item vectors together with no adapter: zero-shot text alone."""
    return ProfileSpace(
        vectors=vectors,
        projection=None,
        half_life=TIME_DEFAULTS[time_unit][0],
        text_half_life=CONFIGS[time_unit].text_half_life,
        base_hash=base.base_hash,
    )
