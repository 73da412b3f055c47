"""Text vectors, each text encoded once: cached by content, encoder and token limit.

The cache is a folder of segments. A segment is written once, whole, and its file name is the
SHA-256 of its content: a torn or damaged one is noticed, removed and made again, and several
processes can add to one store without a lock.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from shared.errors import ModelError
from shared.model.encoder_files import EncoderSource, find_encoder
from shared.model.packaged_encoder import PACKAGED_NAME, PackagedEncoder
from shared.runtime.environment import cache_folder
from shared.runtime.file_store import NUMPY_HEADER_LOCK, write_atomic
from shared.settings.run_settings import ModelSettings

if TYPE_CHECKING:
    import torch

    from shared.model.text_encoder import TextEncoder


KEY_BYTES = 32


class VectorStore:
    """Maps 32-byte keys to float32 vectors of one width.

    Args:
        folder: Where the segments are; made when the first one is added.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, keys: Sequence[bytes]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
        """Looks keys up, one segment in memory at a time.

        Args:
            keys: Distinct keys, `(n,)`.

        Returns:
            Which keys were found `(n,)`, and vectors `(n, width)` with zeros for the others;
            width is 0 when nothing was found.
        """
        rows = {key: row for row, key in enumerate(keys)}
        is_stored = np.zeros(len(keys), dtype=np.bool_)
        vectors = np.zeros((len(keys), 0), dtype=np.float32)
        for path in sorted(self.folder.glob("*.npy")):
            segment = _read_segment(path)
            if segment is None:
                continue
            packed = segment["key"].tobytes()
            cuts = range(0, len(packed), KEY_BYTES)
            wanted = np.array([rows.get(packed[i : i + KEY_BYTES], -1) for i in cuts])
            hits = wanted >= 0
            if not hits.any():
                continue
            if not vectors.shape[1]:
                vectors = np.zeros((len(keys), segment["vector"].shape[1]), dtype=np.float32)
            vectors[wanted[hits]] = segment["vector"][hits]
            is_stored[wanted[hits]] = True
        return is_stored, vectors

    def add(self, keys: Sequence[bytes], vectors: npt.NDArray[np.float32]) -> None:
        """Adds one segment; keys that are there already do no harm.

        Args:
            keys: `(n,)`.
            vectors: `(n, width)`.

        Raises:
            ModelError: The folder cannot be written, or the disk is full.
        """
        width = vectors.shape[1]
        segment = np.empty(len(keys), dtype=[("key", "u1", KEY_BYTES), ("vector", "<f4", width)])
        segment["key"] = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)
        segment["vector"] = vectors
        buffer = io.BytesIO()
        np.save(buffer, segment)
        content = buffer.getvalue()
        # Not durable: a segment that a power failure tore does not have the hash that names it.
        write_atomic(
            self.folder / f"{hashlib.sha256(content).hexdigest()}.npy",
            content,
            durable=False,
            private=True,
            name="cache",
            refusal=ModelError,
            remedy=f"free {len(content) / 1e6:.1f} MB or point FEDPROFILE_CACHE to another folder",
        )


def _read_segment(path: Path) -> npt.NDArray[np.void] | None:
    """Reads a segment, or removes it and returns None where it is not what its name says."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:  # another process removed it
        return None
    if hashlib.sha256(content).hexdigest() != path.stem:
        path.unlink(missing_ok=True)
        return None
    with NUMPY_HEADER_LOCK:
        segment: npt.NDArray[np.void] = np.load(io.BytesIO(content), allow_pickle=False)
    return segment


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
    space = source.space(settings.max_tokens)
    store = VectorStore(folder / "texts" / space[:32])

    cleaned = [_clean(text, max_tokens=settings.max_tokens) for text in texts]
    rows = {text: row for row, text in enumerate(dict.fromkeys(filter(None, cleaned)))}
    unique = list(rows)
    keys = [hashlib.sha256(text.encode()).digest() for text in unique]
    is_stored, vectors = store.read(keys)
    if not vectors.shape[1] or not is_stored.all():
        encoder = load_for_texts(source, device)
        if not vectors.shape[1]:
            vectors = np.zeros((len(unique), encoder.width), dtype=np.float32)
        missing = np.flatnonzero(~is_stored)
        done = 0
        new = [unique[i] for i in missing]
        # A tokenizer fails on no text at all, as a catalogue that has none gives.
        for chunk, encoded in encoder.encode(new, max_tokens=settings.max_tokens) if new else ():
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


def load_for_texts(
    source: EncoderSource, device: torch.device | str
) -> TextEncoder | PackagedEncoder:
    """Loads the encoder; torch and transformers are first imported here.

    Raises:
        ModelError: It is not usable.
    """
    if source.name == PACKAGED_NAME:
        return PackagedEncoder()
    from shared.model.encoder_loading import load_source
    from shared.runtime.environment import resolve_device

    place = resolve_device(device) if isinstance(device, str) else device
    return load_source(source, device=place)
