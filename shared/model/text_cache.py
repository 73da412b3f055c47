"""Text vectors, each text encoded once ever: cached by content, encoder and token limit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from shared.cache_folder import cache_folder
from shared.config import ModelSettings
from shared.model.encoder_source import EncoderSource, find_encoder, space_of
from shared.model.vector_store import VectorStore

if TYPE_CHECKING:
    import torch

    from shared.model.text_encoder import TextEncoder

CHARACTERS_PER_TOKEN = 100
"""Texts are cut after this many characters a token, which no tokenizer needs, to bound the time
that a text of a megabyte takes."""

Progress = Callable[[int, int], None]


def encode_texts(
    texts: Sequence[str],
    *,
    settings: ModelSettings,
    device: torch.device | str = "auto",
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> npt.NDArray[np.float32]:
    """Turns texts into vectors; nothing is loaded when the cache holds them all.

    The cache survives a kill (finished chunks stay), several writers at once, and damage
    (noticed and encoded again).

    Args:
        texts: Any texts, `(n,)`; repeated ones cost nothing.
        settings: Encoder, revision and token limit.
        device: Where missing texts are encoded; float32 on a CPU, bfloat16 on a GPU.
        cache_dir: None for the default (`$FEDPROFILE_CACHE` or `~/.cache/fedprofile`).
        progress: Called with the number of texts encoded so far and in all, only when some
            are missing from the cache.

    Returns:
        Vectors `(n, width)`; a text without a letter or sign gets zeros.

    Raises:
        ModelError: The encoder is not usable, or the cache cannot be written.
    """
    folder = cache_dir or cache_folder()
    source = find_encoder(settings.encoder, revision=settings.revision, cache_dir=folder)
    space = space_of(source.identity, settings.max_tokens)
    store = VectorStore(folder / "texts" / space[:32])

    cleaned = [_clean(text, max_tokens=settings.max_tokens) for text in texts]
    rows = {text: row for row, text in enumerate(dict.fromkeys(filter(None, cleaned)))}
    unique = list(rows)
    keys = [hashlib.sha256(text.encode()).digest() for text in unique]
    found, vectors = store.read(keys)
    if not vectors.shape[1] or not found.all():
        encoder = _load(source, device)
        if not vectors.shape[1]:
            vectors = np.zeros((len(unique), encoder.width), dtype=np.float32)
        missing = np.flatnonzero(~found)
        done = 0
        chunks = encoder.encode([unique[i] for i in missing], max_tokens=settings.max_tokens)
        for chunk, encoded in chunks:
            vectors[missing[chunk]] = encoded
            store.add([keys[i] for i in missing[chunk]], encoded)
            done += len(chunk)
            if progress is not None:
                progress(done, len(missing))
    empty = np.zeros((1, vectors.shape[1]), dtype=np.float32)
    return np.concatenate([vectors, empty])[[rows.get(text, -1) for text in cleaned]]


def _clean(text: str, *, max_tokens: int) -> str:
    """Bounds a text and replaces characters that no tokenizer takes (lone surrogates)."""
    cut = max_tokens * CHARACTERS_PER_TOKEN
    text = text[: 2 * cut].strip()[:cut]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _load(source: EncoderSource, device: torch.device | str) -> TextEncoder:
    """Loads the encoder; torch and transformers are first imported here."""
    from shared.device import resolve_device
    from shared.model.encoder import load_source

    place = resolve_device(device) if isinstance(device, str) else device
    return load_source(source, device=place)
