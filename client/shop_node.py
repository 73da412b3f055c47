"""A shop that trains: its users' events, the public item vectors and its own randomness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from client.own_pairs import OwnPairs
from client.training.examples import Examples, draw_examples
from client.training.losses import EncoderLoss, FrozenTextLoss
from client.training.trainer import StepSpec, UserLoss, train_privately
from shared.config import ModelSettings
from shared.interactions.events import Events
from shared.messages import Arrays, CodesArray, FloatArray
from shared.model.adapter import array_name, attach, load_adapter_arrays, set_trainable
from shared.model.profile_model import ProfileModel
from shared.plan import Plan
from shared.privacy.noise import RandomSource
from shared.releases.pairs import MAX_NORM, check_head, n_pairs, pair_sums, user_sizes

RandomFactory = Callable[..., RandomSource]
"""Makes the randomness of one release from its context (what it is for, which round)."""
KeepOwn = Callable[[str, CodesArray, OwnPairs], None]
"""Keeps, in the shop, its clean part of a release of pairs: digest of the plan, head and part."""


@dataclass(frozen=True, eq=False)
class ShopNode:
    """One shop, ready to train.

    Attributes:
        shop_id: The owner's public name.
        events: Events that the adapter and the counts learn from.
        n_users: Users of the shop; stays here.
        item_vectors: Public item vectors `(n_items, dim)`.
        base: Makes the frozen base model.
        settings: Model settings that fit the base.
        randomness: Makes the noise of each release.
        device: Where training runs.
        texts: Catalogue texts, needed where layers of the encoder train.
        known: All events that the shop has, of the same users, which the pair sums are made of;
            None for `events`. A shop can take its own part out of a sum again, so that no answer
            of its validation window is in the signal that it weighs there. In a split by time the
            sum still holds the other shops' events of the same weeks, which it has not of the test
            window: the weight of the pairs may be chosen too high.
        keep_own: Keeps the clean pair sums in the shop; None forgets them.
    """

    shop_id: str
    events: Events
    n_users: int
    item_vectors: FloatArray
    base: Callable[[], ProfileModel]
    settings: ModelSettings
    randomness: RandomFactory
    device: torch.device
    texts: Sequence[str] = ()
    known: Events | None = None
    keep_own: KeepOwn | None = None

    @property
    def n_items(self) -> int:
        """Items of the public catalogue."""
        return len(self.item_vectors)

    def train(
        self,
        *,
        adapter: Arrays,
        plan: Plan,
        round: int,  # noqa: A002
        candidates: npt.NDArray[np.int64],
    ) -> Arrays:
        """Trains one round with DP-SGD; see `client.node.Node.train`.

        Guarantee:
            The returned update is `plan.local_steps` Poisson-sampled Gaussian mechanisms with
            `plan.noise_multiplier` at user level; everything else in it is public. With
            `plan.noise_shops` above 1 that holds for the sum of so many shops' updates alone, and
            for one step.
        """
        random = self._random(plan, "train", round)
        model = attach(self.base(), self.settings, seed=plan.seed, device=self.device)
        load_adapter_arrays(model, adapter)
        set_trainable(model, plan.aggregation)
        loss = self._loss(model, plan, candidates, random.generator())
        update = train_privately(
            model=model,
            loss=loss,
            n_users=self.n_users,
            spec=self._spec(plan),
            random=random,
            device=self.device,
        )
        return {array_name(name): tensor.float().numpy() for name, tensor in update.items()}

    def counts(self, *, plan: Plan) -> FloatArray:
        """Releases the shop's item counts with noise, `(n_items,)`.

        Each user gives 1 / sqrt(number of its items) to each of its items: norm 1, sensitivity 1.

        Guarantee:
            One Gaussian mechanism with `plan.counts_noise_multiplier`, at user level; with
            `plan.noise_shops` above 1 for the sum of so many shops' counts alone.
        """
        noise = self._random(plan, "counts", 0).gaussian(
            (self.n_items,), plan.own_noise(plan.counts_noise_multiplier)
        )
        return (user_counts(self.events, self.n_items) + noise).astype(np.float32)

    def pairs(self, *, plan: Plan, head: CodesArray) -> FloatArray:
        """Releases the shop's pair sums over the head with noise, `(h (h - 1) / 2,)`.

        Guarantee:
            One Gaussian mechanism with `plan.pairs_noise_multiplier`, at user level; with
            `plan.noise_shops` above 1 for the sum of so many shops' pair sums alone.

        Assumes:
            The head comes from noisy counts or other public facts.

        Raises:
            PrivacyError: The head is none.
        """
        check_head(head, n_items=self.n_items, most=plan.head_items)
        std = plan.own_noise(plan.pairs_noise_multiplier) * MAX_NORM
        noise = self._random(plan, "pairs", 0).gaussian((n_pairs(len(head)),), std)
        events = self.events if self.known is None else self.known
        sums = pair_sums(events, head)
        if self.keep_own is not None:
            self.keep_own(plan.digest(), head, OwnPairs(sums, user_sizes(events, head)))
        return (sums + noise).astype(np.float32)

    def _random(self, plan: Plan, purpose: str, server_round: int) -> RandomSource:
        return self.randomness(plan.seed, self.shop_id, purpose, server_round)

    def _spec(self, plan: Plan) -> StepSpec:
        return StepSpec(
            steps=plan.local_steps,
            sample_rate=plan.sample_rate,
            divisor=plan.divisor,
            max_grad_norm=plan.max_grad_norm,
            noise_multiplier=plan.own_noise(plan.noise_multiplier),
            learning_rate=plan.learning_rate,
            physical_batch=plan.physical_batch,
            bf16=self.device.type == "cuda",
        )

    def _loss(
        self, model: Any, plan: Plan, candidates: npt.NDArray[np.int64], rng: np.random.Generator
    ) -> UserLoss:
        encoder = model.base_model.model.text_encoder
        examples = self._examples(plan, rng)
        if encoder is None:
            return FrozenTextLoss(
                examples, self.item_vectors, candidates, scale=plan.scale, device=self.device
            )
        tokens = encoder.tokenize(self.texts, max_tokens=self.settings.max_tokens)
        return EncoderLoss(examples, tokens, candidates, scale=plan.scale)

    def _examples(self, plan: Plan, rng: np.random.Generator) -> Examples:
        return draw_examples(
            self.events,
            self.n_users,
            n_pairs=plan.examples_per_user,
            max_context=plan.max_context,
            max_targets=plan.max_targets,
            half_life=plan.half_life,
            rng=rng,
        )


def user_counts(events: Events, n_items: int) -> npt.NDArray[np.float64]:
    """Sums the users' items, each user scaled to L2 norm 1: `(n_items,)`.

    Args:
        events: Events of one shop, sorted by user.
        n_items: Items of the catalogue.
    """
    pairs = np.unique(events.user.astype(np.int64) * n_items + events.item)
    user, item = pairs // n_items, pairs % n_items
    share = 1.0 / np.sqrt(np.bincount(user)[user]) if len(user) else np.zeros(0)
    return np.bincount(item, weights=share, minlength=n_items).astype(np.float64)
