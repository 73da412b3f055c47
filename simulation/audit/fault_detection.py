"""Known ways to get a private release wrong, planted into the code that answers in production.

How often the audit notices them: `simulation.audit.detection_power`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from flwr.app import Context, Message, MetricRecord

from client.federation import client_app, shop_node
from client.federation.outgoing_releases import AccountedNode
from client.federation.release_tasks import ReleaseTask
from client.federation.shop_node import ShopNode
from client.training import clip_and_noise
from client.training import dp_sgd as trainer
from client.training.clip_and_noise import PrivateOptimizer, clip_to_grid
from client.training.dp_sgd import StepSpec
from shared.interactions.events import Events
from shared.privacy.noise import GRID, Integers, RandomSource, discrete_gaussian
from shared.protocol.messages import CodesArray, Plan
from shared.releases.pair_sums import user_shares
from shared.secure_aggregation import masked_sum
from shared.secure_aggregation import shop as shop_side
from shared.secure_aggregation.masks import Residues
from shared.secure_aggregation.messages import InputRequest


@contextmanager
def with_fault(fault: str) -> Iterator[None]:
    """Plants a fault of `FAULTS` for the time of a `with` block; `none` plants nothing."""
    with ExitStack() as stack:
        for target, attribute, value in FAULTS[fault].patches():
            stack.enter_context(patch.object(target, attribute, value))
        yield


Patches = list[tuple[Any, str, Any]]


def short_noise(factor: float) -> Callable[[], Patches]:
    """Returns the fault of training noise that is `factor` of the claimed."""

    class ShortNoise(PrivateOptimizer):
        def add_noise(self) -> None:
            claimed = self.noise_variance
            self.noise_variance = round(claimed * factor**2)
            super().add_noise()
            self.noise_variance = claimed

    return lambda: [(trainer, "PrivateOptimizer", ShortNoise)]


def _wide_clip(gradients: Sequence[torch.Tensor], *, max_norm: float) -> list[torch.Tensor]:
    """Clips at twice the norm that the noise is made for."""
    return [2 * numbers for numbers in clip_to_grid(gradients, max_norm=max_norm)]


def _clip_alone(gradients: Sequence[torch.Tensor], *, max_norm: float) -> list[torch.Tensor]:
    """Clips each parameter tensor alone, so that a user counts by root of their number."""
    return [clip_to_grid([gradient], max_norm=max_norm)[0] for gradient in gradients]


def _shows_non_finite(gradients: Sequence[torch.Tensor], *, max_norm: float) -> list[torch.Tensor]:
    """Clips by a factor alone, which lets a gradient that is not finite through."""
    users = [gradient.double().flatten(start_dim=1) for gradient in gradients]
    norms = torch.stack([gradient.norm(dim=1) for gradient in users]).norm(dim=0)
    factor = GRID / norms.clamp(min=max_norm)
    whole = [(gradient * factor[:, None]).trunc().long() for gradient in users]
    return [numbers.view(like.shape) for numbers, like in zip(whole, gradients, strict=True)]


def _reused_noise() -> Callable[..., Integers]:
    """Draws noise once a release and size, and adds it in every step of the release."""
    drawn: dict[tuple[RandomSource, int], Integers] = {}

    def draw(random: RandomSource, n: int, *, variance: int) -> Integers:
        if (random, n) not in drawn:
            drawn[random, n] = discrete_gaussian(random, n, variance=variance)
        return drawn[random, n]

    return draw


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


def _everywhere(draw: Callable[..., Integers]) -> Patches:
    """Replaces the sampler in statistics and in training."""
    return [(module, "discrete_gaussian", draw) for module in (shop_node, clip_and_noise)]


def _half_twice(random: RandomSource, n: int, *, variance: int) -> Integers:
    """Uses each draw for two numbers, as who takes one half of Box and Muller's pair twice."""
    return np.resize(discrete_gaussian(random, -(-n // 2), variance=variance), n)


def _in_units(random: RandomSource, n: int, *, variance: int) -> Integers:
    """Rounds noise to whole users: what a user of several items adds shows beside it."""
    return GRID * np.rint(discrete_gaussian(random, n, variance=variance) / GRID).astype(np.int64)


def _some_without(random: RandomSource, n: int, *, variance: int) -> Integers:
    noise = discrete_gaussian(random, n, variance=variance)
    noise[random.uniform(n) < 0.005] = 0
    return noise


def _light_users(events: Events, n_items: int) -> Integers:
    """Normalises a user of many items as one of four."""
    cells = np.unique(events.user.astype(np.int64) * n_items + events.item)
    sizes = np.bincount(cells // n_items)
    counts = np.zeros(n_items, dtype=np.int64)
    np.add.at(counts, cells % n_items, user_shares(np.minimum(sizes, 4))[cells // n_items])
    return counts


def _one_key() -> Callable[..., RandomSource]:
    """Gives counts and pairs the same key, however often they are asked for."""
    key = os.urandom(32)

    def random(self: ShopNode, plan: Plan, purpose: str, server_round: int) -> RandomSource:
        if purpose == "train":
            return _own_key(self, plan, purpose, server_round)
        return RandomSource(key, repeatable=False)

    return random


def _unclipped_row(gradients: Sequence[torch.Tensor], *, max_norm: float) -> list[torch.Tensor]:
    """Clips all rows of a batch but the second."""
    whole = clip_to_grid(gradients, max_norm=max_norm)
    for numbers, gradient in zip(whole, gradients, strict=True):
        numbers[1:2] = (gradient[1:2].double() * (GRID / max_norm)).trunc()
    return whole


def _border_twice(
    model: Any, loss: Any, users: torch.Tensor, parameters: Any, optimizer: Any, spec: StepSpec
) -> None:
    """Begins each batch with the last user of the one before."""
    times = torch.ones(len(users), dtype=torch.int64)
    times[spec.physical_batch - 1 : -1 : max(1, spec.physical_batch - 1)] = 2
    _one_step(model, loss, users.repeat_interleave(times), parameters, optimizer, spec)


def _counted_users(self: ShopNode, *, plan: Plan) -> Integers:
    counts = _honest_counts(self, plan=plan)
    counts[0] += self.n_users
    return counts


def _num_examples(message: Message, context: Context, open_shop: Any, answer: Any) -> Message:
    """Adds what Flower's examples put into every reply."""
    reply = _honest_reply(message, context, open_shop, answer)
    node = open_shop(context.node_config)
    n_users = getattr(node, "node", node).n_users
    reply.content["metrics"] = MetricRecord({"num-examples": n_users})
    return reply


_one_step = trainer._step
_own_key, _honest_reply = ShopNode._random, client_app._reply
_honest_counts, _honest_pairs = ShopNode.item_counts, ShopNode.pair_sums
_honest_mask = AccountedNode.mask


def _two_steps(*given: Any) -> None:
    _one_step(*given)
    _one_step(*given)


def _skip_empty(model: Any, loss: Any, users: torch.Tensor, *given: Any) -> None:
    if len(users):
        _one_step(model, loss, users, *given)


def _quiet_counts(self: ShopNode, *, plan: Plan) -> Integers:
    noise = plan.counts_noise_multiplier / 3
    return _honest_counts(self, plan=plan.model_copy(update={"counts_noise_multiplier": noise}))


def _quiet_pairs(self: ShopNode, *, plan: Plan, head: CodesArray) -> Integers:
    noise = plan.pairs_noise_multiplier / 3
    quiet = plan.model_copy(update={"pairs_noise_multiplier": noise})
    return _honest_pairs(self, plan=quiet, head=head)


def _unscaled_pairs(events: Events, head: CodesArray) -> Integers:
    """Adds 1 for each pair of a user: one with many counts by the root of their number."""
    inside = events.select(np.isin(events.item, head))
    bought = np.zeros((int(events.user.max(initial=-1)) + 1, len(head)))
    bought[inside.user, np.searchsorted(head, inside.item)] = 1
    together = (bought.T @ bought)[np.triu_indices(len(head), 1)]
    return GRID * together.astype(np.int64)


def _short_share(self: AccountedNode, task: ReleaseTask, request: InputRequest) -> bytes:
    """Draws noise 5% short where it leaves under masks, and nowhere else."""

    def draw(random: RandomSource, n: int, *, variance: int) -> Integers:
        return discrete_gaussian(random, n, variance=round(variance * 0.95**2))

    with ExitStack() as stack:
        for target, attribute, value in _everywhere(draw):
            stack.enter_context(patch.object(target, attribute, value))
        return _honest_mask(self, task, request)


def _no_mask(total: Residues, key: bytes, *, sign: int = 1) -> None:
    """Masks nothing; a server that does the same opens the right sum."""
    del total, key, sign


@dataclass(frozen=True)
class Fault:
    """A way to get it wrong.

    Attributes:
        checks: Checks that each notice it.
        patches: Makes what has to be replaced; of `none` nothing.
    """

    checks: tuple[str, ...]
    patches: Callable[[], Patches] = list


FAULTS: dict[str, Fault] = {
    "none": Fault(()),
    "half of the noise used twice": Fault(("noise",), lambda: _everywhere(_half_twice)),
    "noise in whole users": Fault(
        ("noise",), lambda: [(shop_node, "discrete_gaussian", _in_units)]
    ),
    "0.5% of numbers without noise": Fault(("noise",), lambda: _everywhere(_some_without)),
    "heavy users counted as light": Fault(
        ("one-user",), lambda: [(shop_node, "grid_user_counts", _light_users)]
    ),
    "one key of counts and pairs": Fault(
        ("independence",), lambda: [(ShopNode, "_random", _one_key())]
    ),
    "one row not clipped": Fault(
        ("one-user",), lambda: [(clip_and_noise, "clip_to_grid", _unclipped_row)]
    ),
    "border of a batch twice": Fault(("one-user",), lambda: [(trainer, "_step", _border_twice)]),
    "number of users in a count": Fault(
        ("one-user",), lambda: [(ShopNode, "item_counts", _counted_users)]
    ),
    "num-examples in the reply": Fault(("reply",), lambda: [(client_app, "_reply", _num_examples)]),
    "noise at a third": Fault(("noise",), short_noise(1 / 3)),
    "noise 5% short": Fault(("noise",), short_noise(0.95)),
    "clip norm doubled": Fault(
        ("one-user",), lambda: [(clip_and_noise, "clip_to_grid", _wide_clip)]
    ),
    "tensors clipped alone": Fault(
        ("one-user",), lambda: [(clip_and_noise, "clip_to_grid", _clip_alone)]
    ),
    "noise from a fixed seed": Fault(
        ("independence",), lambda: [(RandomSource, "from_os", classmethod(_fixed_seed))]
    ),
    "noise used again": Fault(
        ("noise",), lambda: [(clip_and_noise, "discrete_gaussian", _reused_noise())]
    ),
    "shuffled batches": Fault(("poisson",), lambda: [(trainer, "poisson_sample", _Shuffled())]),
    "batches of one size": Fault(("poisson",), lambda: [(trainer, "poisson_sample", _fixed_size)]),
    "a step not accounted": Fault(("noise", "poisson"), lambda: [(trainer, "_step", _two_steps)]),
    "empty batches skipped": Fault(("noise",), lambda: [(trainer, "_step", _skip_empty)]),
    "non-finite shows": Fault(
        ("one-user",), lambda: [(clip_and_noise, "clip_to_grid", _shows_non_finite)]
    ),
    "counts noise at a third": Fault(
        ("noise",), lambda: [(ShopNode, "item_counts", _quiet_counts)]
    ),
    "pairs noise at a third": Fault(("noise",), lambda: [(ShopNode, "pair_sums", _quiet_pairs)]),
    "noise 5% short under masks": Fault(
        ("masks",), lambda: [(AccountedNode, "mask", _short_share)]
    ),
    "numbers without masks": Fault(
        ("masks",), lambda: [(side, "add_mask", _no_mask) for side in (shop_side, masked_sum)]
    ),
    "users of pairs not scaled": Fault(
        ("one-user",), lambda: [(shop_node, "grid_pair_sums", _unscaled_pairs)]
    ),
}
"""What may be planted: which checks notice it, and attributes to replace."""
