"""A release's file: bounded in size before it is read, and nothing but plain arrays in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load

from shared.config import MAX_HEAD
from shared.deploy.manifest import Manifest
from shared.errors import ModelError
from shared.messages import HEAD
from shared.releases.pairs import n_pairs

AnyArrays: TypeAlias = Mapping[str, npt.NDArray[Any]]
"""By name: float32 numbers, or int32 item codes."""
HEADER_BYTES = 1_000_000
"""Room for the names in a release's file."""


def decode(file: bytes) -> dict[str, npt.NDArray[Any]]:
    """Reads a release's arrays.

    Raises:
        ModelError: It is not a safetensors file of float32 arrays and int32 item codes.
    """
    try:
        arrays: AnyArrays = load(file)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError("release: not a safetensors file; fetch it again") from error
    for name, array in arrays.items():
        expected = np.int32 if name == HEAD else np.float32
        if array.dtype != expected:
            raise ModelError(
                f"release: {name} has dtype {array.dtype}, expected {np.dtype(expected)}"
            )
    return dict(arrays)


def check_size(manifest: Manifest, file: bytes, *, n_items: int) -> None:
    """Refuses a statistic that is larger than any can be, before it is decoded.

    Raises:
        ModelError: It is too large.
    """
    if manifest.kind == "adapter":
        return
    head = min(MAX_HEAD, n_items)
    numbers = n_items if manifest.kind == "counts" else head + n_pairs(head)
    if len(file) > 4 * numbers + HEADER_BYTES:
        raise ModelError(
            f"release={manifest.number} ({manifest.kind}) has {len(file)} bytes, at most "
            f"{4 * numbers + HEADER_BYTES} for {n_items} items; fetch it again"
        )
