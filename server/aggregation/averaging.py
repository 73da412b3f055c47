"""The mean of updates, exact or robust, and the server's step on it with new low-rank factors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import numpy.typing as npt
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg, FedMedian, FedTrimmedAvg, Krum

from server.aggregation.update_checks import MAX_MAGNITUDE
from shared.errors import ModelError, RunError
from shared.protocol.messages import (
    LORA_A,
    LORA_B,
    UPDATE,
    Arrays,
    FloatArray,
    from_record,
    to_record,
)
from shared.settings.run_settings import ROBUST_LEAST, FederationSettings

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

    `median` and `trimmed-mean` (https://arxiv.org/abs/1803.01498, a fifth cut at both ends) go by
    coordinate; `krum` (https://arxiv.org/abs/1703.02757) picks the one update nearest to the others
    and withstands (n - 3) // 2 hostile ones.

    Args:
        updates: `ROBUST_LEAST[method]` at least; all with the same names and shapes.
        method: `median`, `trimmed-mean` or `krum`.

    Returns:
        Arrays of the same shapes, float32.

    Raises:
        RunError: There are so few updates that the method withstands no hostile one.
    """
    if len(updates) < ROBUST_LEAST[method]:
        raise RunError(
            f"needs {ROBUST_LEAST[method]} good updates, {len(updates)} are there",
            name="federation.robust",
            value=method,
            remedy="take more shops, or remove federation.robust",
        )
    strategies: dict[str, FedAvg] = {
        "median": FedMedian(),
        "trimmed-mean": FedTrimmedAvg(beta=0.2),
        "krum": Krum(num_malicious_nodes=(len(updates) - 3) // 2),
    }
    arrays, _ = strategies[method].aggregate_train(0, [_equal_reply(u) for u in updates])
    means = from_record(cast(ArrayRecord, arrays))
    return {name: means[name].astype(np.float32) for name in sorted(means)}


def _equal_reply(update: Arrays) -> Message:
    metrics = MetricRecord({"num-examples": 1.0})
    content = RecordDict({UPDATE: to_record(update), "metrics": metrics})
    return Message(content, dst_node_id=1, message_type="train")


def lora_pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    """Returns the names of each pair (A, B), sorted.

    Raises:
        ModelError: A matrix is not LoRA's, or its partner is missing.
    """
    matrices = set(names)
    pairs = sorted(
        (name, name.removesuffix(LORA_A) + LORA_B) for name in matrices if name.endswith(LORA_A)
    )
    unpaired = matrices.symmetric_difference(name for pair in pairs for name in pair)
    if unpaired or not pairs:
        raise ModelError(
            f"is not made of pairs of {LORA_A} and {LORA_B}",
            name="adapter",
            value=sorted(unpaired)[:3] or "empty",
            remedy="export the adapter with LoRA alone",
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


ADAM_BETA2 = 0.99
ADAM_TAU = 1e-3
"""Second-moment decay and adaptivity of Adam (https://arxiv.org/abs/2003.00295, section 4)."""


@dataclass(frozen=True, eq=False)
class OptimizerState:
    """Moments of the server's optimizer, by matrix name; empty before the first step.

    Attributes:
        first: Momentum, or Adam's first moment.
        second: Adam's second moment.
        steps: Steps taken.
    """

    first: Arrays = field(default_factory=dict)
    second: Arrays = field(default_factory=dict)
    steps: int = 0


def optimizer_step(
    update: Arrays, *, state: OptimizerState, settings: FederationSettings
) -> tuple[Arrays, OptimizerState]:
    """Turns an aggregated update into the change of the adapter.

    `none`: eta u. `momentum` (https://arxiv.org/abs/1909.06335): m = beta m + u, eta m. `adam`
    (https://arxiv.org/abs/2003.00295): eta m / (sqrt(v) + tau), both moments without bias.

    Args:
        update: Aggregated update, float32.
        state: Of the steps before.
        settings: Optimizer, learning rate eta and momentum beta.

    Returns:
        Change of each matrix, float32, and the state for the next step.
    """
    eta, beta = np.float32(settings.server_learning_rate), np.float32(settings.server_momentum)
    steps = state.steps + 1
    if settings.server_optimizer == "none":
        return _scaled(update, eta), OptimizerState(steps=steps)
    if settings.server_optimizer == "momentum":
        first = _blend(state.first, update, decay=beta, gain=np.float32(1))
        return _scaled(first, eta), OptimizerState(first=first, steps=steps)
    first = _blend(state.first, update, decay=beta, gain=1 - beta)
    squares = {name: np.square(array) for name, array in update.items()}
    b2 = np.float32(ADAM_BETA2)
    second = _blend(state.second, squares, decay=b2, gain=1 - b2)
    bias1, bias2 = 1 - float(beta) ** steps, 1 - float(b2) ** steps
    change = {
        name: (
            eta
            * (first[name] / np.float32(bias1))
            / (np.sqrt(second[name] / np.float32(bias2)) + np.float32(ADAM_TAU))
        )
        for name in first
    }
    return change, OptimizerState(first=first, second=second, steps=steps)


def _scaled(arrays: Arrays, factor: np.float32) -> Arrays:
    return {name: factor * array for name, array in arrays.items()}


def _blend(old: Arrays, new: Arrays, *, decay: np.float32, gain: np.float32) -> Arrays:
    return {
        name: (decay * old[name] + gain * array if name in old else gain * array)
        for name, array in new.items()
    }
