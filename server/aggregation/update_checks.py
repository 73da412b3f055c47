"""What an update must be before it counts.

The largest norm that an honest shop's answer can have.

These functions are the only ones that look at a single shop's arrays; all that follows sees sums.
Whatever a shop sends is hostile until checked: sizes are compared before anything is converted.
A shop clips each user and adds Gaussian noise of a known size, so its answer is at most (users of
the largest shop) contributions long, and the noise. No shop tells its number of users: the bound
goes by a public number, `federation.max_shop_users`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from flwr.app import Array, ArrayRecord

from shared.flower.reply_codes import RefusalCode
from shared.privacy.accounting.guarantee import COUNTS_MAX_NORM, PAIRS_MAX_NORM
from shared.privacy.noise import GRID, Integers
from shared.protocol.messages import (
    Arrays,
    Plan,
    Release,
    RequestKind,
    StatisticKind,
    noise_of,
    summed_noise_std,
)
from shared.runtime.file_store import NUMPY_HEADER_LOCK

MAX_MAGNITUDE = 2.0**20
"""Numbers at or above this are refused; it also bounds the exact sum of
`server.aggregation.averaging`."""
MAX_NUMBER = 2**52
"""Whole numbers at or above this are refused: up to 2,048 shops' add up within 64 bits."""
ARRAY_HEADER_BYTES = 4096
"""Room for the header of a serialised array beyond its numbers."""


@dataclass
class UpdateRefusedError(Exception):
    """An update that must not count.

    Attributes:
        code: Why.
        remedy: What was found, what was expected; never numbers out of the arrays.
    """

    code: RefusalCode
    remedy: str


def check_arrays(
    record: ArrayRecord, *, shapes: Mapping[str, tuple[int, ...]], scale: float = 1 / GRID
) -> Arrays:
    """Turns a shop's whole numbers into float32 arrays of exactly the expected names and shapes.

    Args:
        record: As received.
        shapes: Expected shape by name.
        scale: What a step of the grid is worth.

    Returns:
        Finite float32 arrays, in order of their names.

    Raises:
        UpdateRefusedError: With the first reason found.
    """
    numbers = check_numbers(record, shapes=shapes)
    arrays = {name: (values * scale).astype(np.float32) for name, values in numbers.items()}
    for array in arrays.values():
        if not np.abs(array).max(initial=0.0) < MAX_MAGNITUDE:
            raise UpdateRefusedError(
                RefusalCode.MAGNITUDE, f"a number is at or above 2^20={MAX_MAGNITUDE:.0f}"
            )
    return arrays


def check_numbers(record: ArrayRecord, *, shapes: Mapping[str, tuple[int, ...]]) -> Release:
    """Returns a shop's whole numbers, int64, of exactly the expected names and shapes.

    Raises:
        UpdateRefusedError: With the first reason found, among them a number so large that a sum of
            shops could overflow.
    """
    if set(record) != set(shapes):
        raise UpdateRefusedError(
            RefusalCode.KEYS, f"{len(record)} arrays received; expected {len(shapes)}: same plan?"
        )
    numbers = {name: _decode(record[name], shapes[name]) for name in sorted(shapes)}
    for values in numbers.values():
        # Not by abs: that of the least int64 is itself.
        if values.size and not -MAX_NUMBER < values.min() <= values.max() < MAX_NUMBER:
            raise UpdateRefusedError(
                RefusalCode.MAGNITUDE, f"a number is at or above {MAX_NUMBER} in size"
            )
    return numbers


def check_norm(arrays: Arrays, *, bound: float | None) -> None:
    """Refuses what no honest shop can have sent.

    Args:
        arrays: Checked arrays.
        bound: Largest L2 norm over all of them, from `server.aggregation.update_checks`; None for
            no bound.

    Raises:
        UpdateRefusedError: It is larger.
    """
    if bound is not None and not l2_norm(arrays) <= bound:
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


def _decode(array: Array, shape: tuple[int, ...]) -> Integers:
    expected = int(np.prod(shape)) * 8
    if array.stype != "numpy.ndarray" or array.dtype != "int64":
        raise UpdateRefusedError(RefusalCode.DTYPE, "expected dtype int64")
    if tuple(array.shape) != shape:
        raise UpdateRefusedError(RefusalCode.SHAPE, f"expected shape {shape}")
    if not expected < len(array.data) <= expected + ARRAY_HEADER_BYTES:
        raise UpdateRefusedError(RefusalCode.SIZE, f"expected {expected} bytes and a header")
    # What the record declares and what its bytes declare may differ; NumPy allocates by the latter.
    with NUMPY_HEADER_LOCK:
        if _declared(array.data) != (shape, np.dtype(np.int64)):
            raise UpdateRefusedError(RefusalCode.SHAPE, f"expected shape {shape}, int64")
        try:
            decoded: Integers = array.numpy()
        except (ValueError, EOFError) as error:
            raise UpdateRefusedError(RefusalCode.SIZE, f"expected {expected} bytes") from error
    return decoded


def _declared(data: bytes) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    stream = io.BytesIO(data)
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("unknown version")
        shape, _, dtype = np.lib.format.read_array_header_1_0(
            stream, max_header_size=ARRAY_HEADER_BYTES
        )
    except (ValueError, EOFError, TypeError, SyntaxError) as error:
        raise UpdateRefusedError(RefusalCode.MALFORMED, "not a NumPy array, version 1.0") from error
    return shape, dtype


REFUSED_BY_CHANCE = 1e-9
"""Probability at most with which an honest answer is refused."""
ROUNDING = 1.001
"""Room for float32 (and bfloat16 on a GPU) where the bound is met exactly."""


def update_bound(plan: Plan, *, size: int, max_users: int) -> float | None:
    """Returns the bound of an update's L2 norm, None where single updates are not looked at.

    In units of `max_grad_norm` each of the `local_steps` sums at most `max_users` gradients of norm
    1 and noise with the standard deviation `noise_multiplier` in each coordinate; the step is the
    sum times `learning_rate / divisor`. The signals' norms add up; the noises of all steps are
    independent, so their sum is one Gaussian vector.

    Args:
        plan: The public plan.
        size: Trained numbers.
        max_users: Users that the largest shop may have.

    Assumes:
        Each user's gradient is clipped to `max_grad_norm`; noise is drawn anew each step.
    """
    if plan.noise_shops > 1:
        return None
    signal = plan.local_steps * float(max_users)
    noise = _noise_bound(plan.noise_multiplier * math.sqrt(plan.local_steps), size)
    return ROUNDING * plan.learning_rate / plan.divisor * (signal + noise)


def statistic_bound(plan: Plan, kind: StatisticKind, *, size: int, max_users: int) -> float | None:
    """Returns the bound of `counts` or `pairs`, one release each; see `update_bound`."""
    if plan.noise_shops > 1:
        return None
    max_norm = {"counts": COUNTS_MAX_NORM, "pairs": PAIRS_MAX_NORM}[kind]
    std = summed_noise_std(plan, kind, n_replies=1)
    return ROUNDING * (max_norm * max_users + _noise_bound(std, size))


def sum_bound(plan: Plan, kind: RequestKind, *, size: int, max_users: int, shops: int) -> float:
    """Returns the bound of the L2 norm of a sum over shops, in sensitivities; see `update_bound`.

    A sum that shows no single shop is bounded by what all of its shops together may have: one of
    them can move it by as much, and whoever did is not seen.

    Args:
        plan: The public plan.
        kind: What was summed.
        size: Its numbers.
        max_users: Users that the largest shop may have.
        shops: Shops in the sum.
    """
    std = plan.own_noise(noise_of(plan, kind)) * math.sqrt(shops)
    return ROUNDING * (float(max_users) * shops + _noise_bound(std, size))


def _noise_bound(std: float, size: int) -> float:
    """Bounds the norm of Gaussian noise `(size,)`, but for a probability of `REFUSED_BY_CHANCE`.

    The norm is a 1-Lipschitz function with mean at most sqrt(size), so it passes that by t standard
    deviations with probability exp(-t^2 / 2) at most (Boucheron, Lugosi and Massart 2013,
    theorem 5.6).
    """
    return std * (math.sqrt(size) + math.sqrt(-2.0 * math.log(REFUSED_BY_CHANCE)))
