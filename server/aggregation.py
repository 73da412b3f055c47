"""Aggregation of updates: pure functions over arrays by name.

The mean is a sum of integers, so that the order in which shops answer, which differs between
engines and runs, cannot change a single bit of the result, and no update is kept once it is added.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg, FedMedian, FedTrimmedAvg, Krum

from server.checks import MAX_MAGNITUDE
from shared.errors import ModelError
from shared.messages import LORA_A, LORA_B, UPDATE, Arrays, FloatArray, from_record, to_record

_HIGH, _LOW = 2.0**24, 2.0**64
_IntArray = npt.NDArray[np.int64]


class ExactSum:
    """A weighted sum of updates that does not depend on their order.

    Every number below 2^20 is split into a multiple of 2^-24 and a remainder that is rounded to a
    multiple of 2^-64; both are added as 64-bit integers, exactly, for up to 2^19 updates. (Demmel
    and Nguyen call such sums reproducible: https://doi.org/10.1109/TC.2014.2345391.)
    """

    def __init__(self) -> None:
        self._weights: list[float] = []
        self._sums: dict[str, tuple[_IntArray, _IntArray]] = {}

    def add(self, update: Arrays, *, weight: float = 1.0) -> None:
        """Adds one update.

        Args:
            update: Finite arrays with numbers below 2^20.
            weight: Public weight in (0, 1].

        Raises:
            ValueError: A weighted number reaches 2^20, where the sum could overflow.
        """
        for name, array in update.items():
            value = array.astype(np.float64) * weight
            if np.abs(value).max(initial=0.0) >= MAX_MAGNITUDE:
                raise ValueError(f"{name} holds a number at or above {MAX_MAGNITUDE:.0f}")
            high = np.rint(value * _HIGH)
            low = np.rint((value - high / _HIGH) * _LOW)
            parts = high.astype(np.int64), low.astype(np.int64)
            if name in self._sums:
                for total, part in zip(self._sums[name], parts, strict=True):
                    total += part
            else:
                self._sums[name] = parts
        self._weights.append(weight)

    @property
    def count(self) -> int:
        """Number of updates in the sum."""
        return len(self._weights)

    def total(self) -> Arrays:
        """Returns the sum as float32."""
        return {name: self._value(name).astype(np.float32) for name in sorted(self._sums)}

    def mean(self) -> Arrays:
        """Returns the sum divided by the sum of the weights, as float32."""
        scale = 1.0 / math.fsum(self._weights)
        return {name: (self._value(name) * scale).astype(np.float32) for name in sorted(self._sums)}

    def _value(self, name: str) -> npt.NDArray[np.float64]:
        high, low = self._sums[name]
        value: npt.NDArray[np.float64] = high / _HIGH + low / _LOW
        return value


def robust_mean(updates: Sequence[Arrays], *, method: str) -> Arrays:
    """Aggregates with one of Flower's robust strategies, every shop with the same weight.

    `median` and `trimmed-mean` (https://arxiv.org/abs/1803.01498, a fifth cut at both ends, so
    nothing below five updates) go by coordinate; `krum` (https://arxiv.org/abs/1703.02757) picks
    the one update nearest to the others and withstands (n - 3) // 2 hostile ones.

    Args:
        updates: At least one; all with the same names and shapes.
        method: `median`, `trimmed-mean` or `krum`.

    Returns:
        Arrays of the same shapes, float32.
    """
    strategies: dict[str, FedAvg] = {
        "median": FedMedian(),
        "trimmed-mean": FedTrimmedAvg(beta=0.2),
        "krum": Krum(num_malicious_nodes=max(0, (len(updates) - 3) // 2)),
    }
    arrays, _ = strategies[method].aggregate_train(0, [_equal_reply(u) for u in updates])
    found = from_record(cast(ArrayRecord, arrays))
    return {name: found[name].astype(np.float32) for name in sorted(found)}


def _equal_reply(update: Arrays) -> Message:
    metrics = MetricRecord({"num-examples": 1.0})
    content = RecordDict({UPDATE: to_record(update), "metrics": metrics})
    return Message(content, dst_node_id=1, message_type="train")


def lora_pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    """Returns the names of each pair (A, B), sorted.

    Raises:
        ModelError: A matrix is not LoRA's, or its partner is missing.
    """
    found = set(names)
    pairs = sorted(
        (name, name.removesuffix(LORA_A) + LORA_B) for name in found if name.endswith(LORA_A)
    )
    odd = found.symmetric_difference(name for pair in pairs for name in pair)
    if odd or not pairs:
        raise ModelError(
            f"adapter={sorted(odd)[:3] or 'empty'} is not made of pairs of {LORA_A} and {LORA_B}; "
            "export the adapter with LoRA alone"
        )
    return pairs


def orthonormal_factors(A: FloatArray, B: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Refactors B A such that A has orthonormal rows (FedSVD, https://arxiv.org/abs/2505.12805).

    B A = U S V^T is computed in the small space: A^T = Q R, B R^T = U S W^T, V^T = W^T Q^T. The
    product keeps its value and A its row space, also where B A has a lower rank than A has rows.

    Args:
        A: `(rank, in)`, rank <= in.
        B: `(out, rank)`.

    Returns:
        New A `(rank, in)` and B = U S `(out, rank)`, float32.
    """
    Q, R = np.linalg.qr(A.T.astype(np.float64))
    core = B.astype(np.float64) @ R.T
    U, S, Wt = np.linalg.svd(core, full_matrices=True)
    rank = A.shape[0]
    new_B = np.zeros(B.shape)
    new_B[:, : len(S)] = U[:, : len(S)] * S
    return (Wt[:rank] @ Q.T).astype(np.float32), new_B.astype(np.float32)


def rotate(M: FloatArray, *, old_A: FloatArray, new_A: FloatArray) -> FloatArray:
    """Carries a buffer of B's shape `(out, rank)` to another A with the same row space.

    Returns:
        M old_A new_A^T, so that its product with new_A (orthonormal rows) is M old_A.
    """
    turn = old_A.astype(np.float64) @ new_A.T.astype(np.float64)
    turned: FloatArray = (M.astype(np.float64) @ turn).astype(np.float32)
    return turned
