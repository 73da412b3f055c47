"""Vectors on disk under the hash of what they were made from: append-only and self-checking.

A store is a folder of segments. A segment is written once, whole, and its file name is the
SHA-256 of its content: a torn or damaged one is noticed, removed and made again, and several
processes can add to one store without a lock.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.array_headers import ONE_READER
from shared.errors import ModelError

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
        found = np.zeros(len(keys), dtype=np.bool_)
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
            found[wanted[hits]] = True
        return found, vectors

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
        try:
            self._write(buffer.getvalue())
        except OSError as error:
            raise ModelError(
                f"cache folder={self.folder} cannot take {len(buffer.getvalue()) / 1e6:.1f} MB "
                f"({error.strerror}); free space or point FEDPROFILE_CACHE to another folder"
            ) from error

    def _write(self, content: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.folder, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(name).replace(self.folder / f"{hashlib.sha256(content).hexdigest()}.npy")
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _read_segment(path: Path) -> npt.NDArray[np.void] | None:
    """Reads a segment, or removes it and returns None where it is not what its name says."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:  # another process removed it
        return None
    if hashlib.sha256(content).hexdigest() != path.stem:
        path.unlink(missing_ok=True)
        return None
    with ONE_READER:
        segment: npt.NDArray[np.void] = np.load(io.BytesIO(content), allow_pickle=False)
    return segment
