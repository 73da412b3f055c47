"""A federation small enough to check by hand: least squares over LoRA-shaped matrices.

Every shop holds X `(n, IN)` and Y `(n, OUT)` in a file and fits Y = X (B A)^T by gradient steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from server.federation.federated_run import Federation
from shared.privacy.noise import GRID, Integers
from shared.protocol.messages import LORA_A, LORA_B, Arrays, CodesArray, FloatArray, Plan, Release
from shared.runtime.file_store import NUMPY_HEADER_LOCK
from shared.settings.run_settings import FederationSettings

IN, OUT, RANK, ITEMS = 6, 4, 3, 5
A, B = f"base_model.model.projection.{LORA_A}", f"base_model.model.projection.{LORA_B}"


@dataclass
class LeastSquaresNode:
    """One shop; adds noise keyed by plan, round and shop as a seeded simulation does."""

    shop_id: str
    X: FloatArray
    Y: FloatArray
    items: FloatArray
    n_items: int = ITEMS

    def loss(self, adapter: Arrays) -> float:
        return float(np.mean((self.X @ (adapter[B] @ adapter[A]).T - self.Y) ** 2))

    def train(
        self,
        *,
        adapter: Arrays,
        plan: Plan,
        round: int,  # noqa: A002
        candidates: CodesArray | None = None,  # noqa: ARG002
    ) -> Release:
        moved = {name: array.copy() for name, array in adapter.items()}
        for _ in range(plan.local_steps):
            error = (self.X @ (moved[B] @ moved[A]).T - self.Y).T @ self.X / len(self.X)
            grads = {A: moved[B].T @ error, B: error @ moved[A].T}
            for name in (A, B) if plan.aggregation == "average" else (B,):
                moved[name] = moved[name] - np.float32(plan.learning_rate) * grads[name]
        names = [name for name in adapter if plan.aggregation == "average" or name == B]
        noise = np.random.default_rng([plan.seed, round, *self.shop_id.encode()])
        return {
            n: whole(
                moved[n]
                - adapter[n]
                + plan.noise_multiplier * noise.standard_normal(adapter[n].shape),
                plan.update_scale,
            )
            for n in names
        }

    def item_counts(self, *, plan: Plan) -> Integers:
        noise = np.random.default_rng([plan.seed, 0, *self.shop_id.encode()])
        return whole(self.items + plan.counts_noise_multiplier * noise.standard_normal(ITEMS))

    def pair_sums(self, *, plan: Plan, head: CodesArray) -> Integers:
        """Products of the items' counts stand for pairs."""
        noise = np.random.default_rng([plan.seed, 1, *self.shop_id.encode()])
        first, second = np.triu_indices(len(head), 1)
        clean = self.items[head][first] * self.items[head][second]
        std = plan.own_noise(plan.pairs_noise_multiplier)
        return whole(clean + std * noise.standard_normal(len(first)))


def whole(values: npt.NDArray[np.floating], scale: float = 1 / GRID) -> Integers:
    """What leaves a shop for these values, where a step of the grid is worth `scale`."""
    return np.rint(values / scale).astype(np.int64)


def received(release: Release, plan: Plan) -> Arrays:
    """The update that the server makes of a release."""
    return {name: (n * plan.update_scale).astype(np.float32) for name, n in release.items()}


@dataclass(frozen=True)
class LeastSquaresSource:
    """Opens the shop of a partition from disk."""

    folder: Path

    def open(self, node_config) -> LeastSquaresNode:  # type: ignore[no-untyped-def]
        number = int(node_config["partition-id"])
        with NUMPY_HEADER_LOCK, np.load(self.folder / f"{number}.npz") as file:
            return LeastSquaresNode(f"shop-{number:04d}", file["X"], file["Y"], file["items"])


def write_shops(folder: Path, *, num_shops: int, users: int = 20) -> LeastSquaresSource:
    rng = np.random.default_rng(7)
    truth = rng.standard_normal((OUT, IN))
    for number in range(num_shops):
        X = rng.standard_normal((users, IN))
        Y = X @ truth.T + 0.1 * rng.standard_normal((users, OUT))
        items = rng.integers(0, 9, ITEMS)
        arrays = {"X": X, "Y": Y, "items": items}
        np.savez(folder / f"{number}.npz", **{k: v.astype(np.float32) for k, v in arrays.items()})
    return LeastSquaresSource(folder)


def make_plan(**changes: object) -> Plan:
    values: dict[str, object] = {
        "rounds": 6,
        "local_steps": 2,
        "sample_rate": 1.0,
        "divisor": 20.0,
        "max_grad_norm": 1.0,
        "noise_multiplier": 0.01,
        "learning_rate": 0.1,
        "counts_noise_multiplier": 0.0,
        "counts_release": False,
        "pairs_noise_multiplier": 0.0,
        "pairs_release": False,
        "head_items": ITEMS,
        "noise_shops": 1,
        "private": True,
        "aggregation": "frozen-a",
        "examples_per_user": 1,
        "max_context": 1,
        "max_targets": 1,
        "candidates": 1,
        "physical_batch": 1,
        "scale": 1.0,
        "half_life": 1.0,
        "base_hash": "0" * 64,
        "seed": 1,
    }
    return Plan.model_validate(values | changes)


def make_adapter() -> Arrays:
    rng = np.random.default_rng(3)
    return {
        A: rng.standard_normal((RANK, IN)).astype(np.float32) * np.float32(0.4),
        B: np.zeros((OUT, RANK), dtype=np.float32),
    }


def make_federation(*, plan: Plan | None = None, **changes: object) -> Federation:
    plan = plan or make_plan()
    values: dict[str, object] = {
        "settings": FederationSettings(aggregation=plan.aggregation, server_momentum=0.5),
        "adapter": make_adapter(),
        "n_items": ITEMS,
    }
    return Federation(plan=plan, **(values | changes))  # type: ignore[arg-type]
