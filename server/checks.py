"""What an update must be before it counts.

These functions are the only ones that look at a single shop's arrays; all that follows sees sums.
Whatever a shop sends is hostile until checked: sizes are compared before anything is converted.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from flwr.app import Array, ArrayRecord

from shared.array_headers import ONE_READER
from shared.messages import Arrays, FloatArray

MAX_MAGNITUDE = 2.0**20
"""Numbers at or above this are refused; it also bounds the exact sum of `server.aggregation`."""
HEADER_BYTES = 4096
"""Room for the header of a serialised array beyond its numbers."""


class RefusalCode(StrEnum):
    """Why a reply did not count."""

    MALFORMED = "malformed"
    """A record that every reply needs is missing or cannot be read."""
    KEYS = "keys"
    """Other matrices than the plan trains."""
    DTYPE = "dtype"
    """Not float32."""
    SHAPE = "shape"
    """Other shapes than the adapter's."""
    SIZE = "size"
    """More or fewer bytes than the shape holds."""
    NON_FINITE = "non-finite"
    """NaN or infinity."""
    MAGNITUDE = "magnitude"
    """A number at or above `MAX_MAGNITUDE`."""
    NORM = "norm"
    """Larger than the plan's mechanism can produce; see `server.norm_bound`."""
    DUPLICATE = "duplicate"
    """A second reply in one round under the same shop's name."""
    UNKNOWN_SHOP = "unknown-shop"
    """Public weights are set and have none for this shop."""
    NODE_ERROR = "node-error"
    """The node died or its app could not be started."""
    TIMEOUT = "timeout"
    """No reply within the round's time."""
    REFUSED = "refused"
    """The shop said no and gave no code that can be read."""


@dataclass
class UpdateRefusedError(Exception):
    """An update that must not count.

    Attributes:
        code: Why.
        remedy: What was found, what was expected; never numbers out of the arrays.
    """

    code: RefusalCode
    remedy: str


def check_arrays(record: ArrayRecord, *, shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Turns a shop's record into float32 arrays of exactly the expected names and shapes.

    Args:
        record: As received.
        shapes: Expected shape by name.

    Returns:
        Finite float32 arrays, in order of their names.

    Raises:
        UpdateRefusedError: With the first reason found.
    """
    if set(record) != set(shapes):
        raise UpdateRefusedError(
            RefusalCode.KEYS, f"{len(record)} arrays received; expected {len(shapes)}: same plan?"
        )
    arrays = {name: _decode(record[name], shapes[name]) for name in sorted(shapes)}
    for array in arrays.values():
        if not np.isfinite(array).all():
            raise UpdateRefusedError(RefusalCode.NON_FINITE, "NaN or infinity; lower learning_rate")
        if np.abs(array).max(initial=0.0) >= MAX_MAGNITUDE:
            raise UpdateRefusedError(
                RefusalCode.MAGNITUDE, f"a number is at or above 2^20={MAX_MAGNITUDE:.0f}"
            )
    return arrays


def check_norm(arrays: Arrays, *, bound: float | None) -> None:
    """Refuses what no honest shop can have sent.

    Args:
        arrays: Checked arrays.
        bound: Largest L2 norm over all of them, from `server.norm_bound`; None for no bound.

    Raises:
        UpdateRefusedError: It is larger.
    """
    if bound is not None and l2_norm(arrays) > bound:
        raise UpdateRefusedError(
            RefusalCode.NORM,
            f"norm is above {bound:.4g}, the most that clipping and noise of the plan can give; "
            "train as the plan says, or raise max_shop_users",
        )


def clip_norm(update: Arrays, *, max_norm: float | None) -> Arrays:
    """Scales an update down to an L2 norm of at most `max_norm` over all its matrices."""
    norm = l2_norm(update)
    if max_norm is None or norm <= max_norm:
        return update
    return {name: (array * (max_norm / norm)).astype(np.float32) for name, array in update.items()}


def l2_norm(arrays: Arrays) -> float:
    """L2 norm over all matrices, computed in float64."""
    squares = (np.square(array, dtype=np.float64).sum() for array in arrays.values())
    return float(np.sqrt(sum(squares)))


def _decode(array: Array, shape: tuple[int, ...]) -> FloatArray:
    expected = int(np.prod(shape)) * 4
    if array.stype != "numpy.ndarray" or array.dtype != "float32":
        raise UpdateRefusedError(RefusalCode.DTYPE, "expected dtype float32")
    if tuple(array.shape) != shape:
        raise UpdateRefusedError(RefusalCode.SHAPE, f"expected shape {shape}")
    if not expected < len(array.data) <= expected + HEADER_BYTES:
        raise UpdateRefusedError(RefusalCode.SIZE, f"expected {expected} bytes and a header")
    # What the record declares and what its bytes declare may differ; NumPy allocates by the latter.
    with ONE_READER:
        if _declared(array.data) != (shape, np.dtype(np.float32)):
            raise UpdateRefusedError(RefusalCode.SHAPE, f"expected shape {shape}, float32")
        try:
            decoded: FloatArray = array.numpy()
        except (ValueError, EOFError) as error:
            raise UpdateRefusedError(RefusalCode.SIZE, f"expected {expected} bytes") from error
    return decoded


def _declared(data: bytes) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    stream = io.BytesIO(data)
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("unknown version")
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=HEADER_BYTES)
    except (ValueError, EOFError, TypeError, SyntaxError) as error:
        raise UpdateRefusedError(RefusalCode.MALFORMED, "not a NumPy array, version 1.0") from error
    return shape, dtype
