"""Known ways to get private training wrong, planted into the code that trains.

They measure what the audit catches: in tests, and as power in the benchmark. Nothing else may use
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from opacus.optimizers import DPOptimizer

from client import shop_node
from client.shop_node import ShopNode
from client.training import trainer
from client.training.optimizer import PrivateOptimizer
from shared.interactions.events import Events
from shared.messages import CodesArray, FloatArray
from shared.plan import Plan
from shared.privacy.noise import RandomSource
from shared.releases.pairs import Values


@contextmanager
def planted(fault: str) -> Iterator[None]:
    """Plants a fault of `FAULTS` for the time of a `with` block; `none` plants nothing."""
    with ExitStack() as stack:
        for target, attribute, value in FAULTS[fault]():
            stack.enter_context(patch.object(target, attribute, value))
        yield


Patches = list[tuple[Any, str, Any]]


def short_noise(factor: float) -> Callable[[], Patches]:
    """Returns the fault of training noise that is `factor` of the claimed."""

    class ShortNoise(PrivateOptimizer):
        noise_multiplier: float

        def add_noise(self) -> None:
            claimed = self.noise_multiplier
            self.noise_multiplier = claimed * factor
            super().add_noise()
            self.noise_multiplier = claimed

    return lambda: [(trainer, "PrivateOptimizer", ShortNoise)]


class _WideClip(PrivateOptimizer):
    """Clips at twice the norm that the noise is made for."""

    max_grad_norm: float

    def clip_and_accumulate(self) -> None:
        self.max_grad_norm *= 2
        super().clip_and_accumulate()
        self.max_grad_norm /= 2


class _ClipAlone(PrivateOptimizer):
    """Clips each parameter tensor alone, so that a user counts by root of their number."""

    max_grad_norm: float

    def clip_and_accumulate(self) -> None:
        for p in self.params:
            factor = self.max_grad_norm / (p.grad_sample.flatten(1).norm(dim=1) + 1e-6)
            p.grad_sample = p.grad_sample * factor.clamp(max=1).view(-1, *[1] * p.dim())
        claimed, self.max_grad_norm = self.max_grad_norm, 1e9
        super().clip_and_accumulate()
        self.max_grad_norm = claimed


class _ReusedNoise(PrivateOptimizer):
    """Draws noise once and adds it in every step."""

    _noise: list[torch.Tensor] | None = None

    def add_noise(self) -> None:
        super().add_noise()
        if self._noise is None:
            self._noise = [p.grad - p.summed_grad for p in self.params]
        for p, noise in zip(self.params, self._noise, strict=True):
            p.grad = p.summed_grad + noise


class _ShowsNonFinite(PrivateOptimizer):
    """Clips as Opacus does, which lets a gradient that is not finite through."""

    def clip_and_accumulate(self) -> None:
        DPOptimizer.clip_and_accumulate(self)


class _Shuffled:
    """Goes through shuffled users in batches of one size, pass by pass."""

    def __init__(self) -> None:
        self._left = torch.zeros(0, dtype=torch.int64)

    def __call__(self, n_users: int, sample_rate: float, random: RandomSource) -> torch.Tensor:
        size = round(n_users * sample_rate)
        if len(self._left) < size:
            order = np.argsort(random.uniform(n_users))
            self._left = torch.from_numpy(order)
        batch, self._left = self._left[:size], self._left[size:]
        return batch


def _fixed_size(n_users: int, sample_rate: float, random: RandomSource) -> torch.Tensor:
    order = np.argsort(random.uniform(n_users))
    return torch.from_numpy(order[: round(n_users * sample_rate)])


def _fixed_seed(cls: type[RandomSource]) -> RandomSource:
    return cls(bytes(32), repeatable=False)


_one_step = trainer._step
_honest_counts, _honest_pairs = ShopNode.counts, ShopNode.pairs


def _two_steps(*given: Any) -> None:
    _one_step(*given)
    _one_step(*given)


def _skip_empty(model: Any, loss: Any, users: torch.Tensor, *given: Any) -> None:
    if len(users):
        _one_step(model, loss, users, *given)


def _quiet_counts(self: ShopNode, *, plan: Plan) -> FloatArray:
    noise = plan.counts_noise_multiplier / 3
    return _honest_counts(self, plan=plan.model_copy(update={"counts_noise_multiplier": noise}))


def _quiet_pairs(self: ShopNode, *, plan: Plan, head: CodesArray) -> FloatArray:
    noise = plan.pairs_noise_multiplier / 3
    quiet = plan.model_copy(update={"pairs_noise_multiplier": noise})
    return _honest_pairs(self, plan=quiet, head=head)


def _unscaled_pairs(events: Events, head: CodesArray) -> Values:
    """Adds 1 for each pair of a user: one with many counts by the root of their number."""
    bought = np.zeros((int(events.user.max(initial=-1)) + 1, len(head)))
    bought[events.user, np.searchsorted(head, events.item)] = 1
    together: Values = (bought.T @ bought)[np.triu_indices(len(head), 1)]
    return together


FAULTS: dict[str, Callable[[], Patches]] = {
    "none": list,
    "noise at a third": short_noise(1 / 3),
    "noise 5% short": short_noise(0.95),
    "noise 20% short": short_noise(0.8),
    "clip norm doubled": lambda: [(trainer, "PrivateOptimizer", _WideClip)],
    "tensors clipped alone": lambda: [(trainer, "PrivateOptimizer", _ClipAlone)],
    "noise from a fixed seed": lambda: [(RandomSource, "from_os", classmethod(_fixed_seed))],
    "noise used again": lambda: [(trainer, "PrivateOptimizer", _ReusedNoise)],
    "shuffled batches": lambda: [(trainer, "poisson_sample", _Shuffled())],
    "batches of one size": lambda: [(trainer, "poisson_sample", _fixed_size)],
    "a step not accounted": lambda: [(trainer, "_step", _two_steps)],
    "empty batches skipped": lambda: [(trainer, "_step", _skip_empty)],
    "non-finite shows": lambda: [(trainer, "PrivateOptimizer", _ShowsNonFinite)],
    "counts noise at a third": lambda: [(ShopNode, "counts", _quiet_counts)],
    "pairs noise at a third": lambda: [(ShopNode, "pairs", _quiet_pairs)],
    "users of pairs not scaled": lambda: [(shop_node, "pair_sums", _unscaled_pairs)],
}
"""What may be planted -> attributes to replace."""
