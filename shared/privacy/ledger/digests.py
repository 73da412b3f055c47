"""Digests of what is released and of what it was computed from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.errors import PrivacyError


def digest_arrays(arrays: Mapping[str, npt.NDArray[Any]], *context: str | int) -> str:
    """Returns the SHA-256 of arrays with their names, types and shapes.

    Args:
        arrays: By name; their order does not matter.
        *context: What else belongs to them, such as the round.
    """
    state = hashlib.sha256(repr(context).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        state.update(f"{name!r} {array.dtype.str} {array.shape}\n".encode())
        state.update(array.tobytes())
    return state.hexdigest()


def digest_file(path: Path) -> str:
    """Returns the SHA-256 of a file.

    Raises:
        PrivacyError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PrivacyError(f"file={path} cannot be read ({error.strerror})") from error
