"""The releases that a shop computes: an update by DP-SGD, noisy item counts, noisy pair sums.

Budgets are no matter here: `client.federation.outgoing_releases` asks the ledger before it calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from client.federation.own_contribution import OwnPairSums
from client.training.dp_sgd import StepSpec, UserLoss, train_privately
from client.training.examples import Examples, draw_examples
from client.training.losses import EncoderLoss, FrozenTextLoss
from shared.interactions.events import Events
from shared.model.adapter import array_name, attach, load_adapter_arrays, set_trainable
from shared.model.profile_model import ProfileModel
from shared.privacy.noise import GRID, Integers, RandomSource, discrete_gaussian
from shared.protocol.messages import Arrays, CodesArray, FloatArray, Plan, Release
from shared.releases.item_counts import grid_user_counts
from shared.releases.pair_sums import check_head, grid_pair_sums, n_pairs, user_sizes
from shared.settings.run_settings import ModelSettings

RandomFactory = Callable[..., RandomSource]
"""Makes the randomness of one release from its context (what it is for, which round)."""
SaveOwnPairs = Callable[[str, CodesArray, OwnPairSums], None]
"""Saves, in the shop, its clean part of a release of pairs: digest of the plan, head and part."""


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
        all_events: Also those of the validation window, of the same users: what the pair sums
            count; None for `events`. A shop can take its own part out of a sum again, so that no
            target of its validation window is in the signal that it weighs there. In a split by
            time the sum still holds the other shops' events of the same weeks, and none of the test
            window: the weight of the pairs may be chosen too high.
        save_own_pairs: Saves the clean pair sums in the shop; None forgets them.
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
    all_events: Events | None = None
    save_own_pairs: SaveOwnPairs | None = None

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
    ) -> Release:
        """Trains one round with DP-SGD; see `client.federation.node_interface.Node.train`.

        Guarantee:
            The returned sums of gradients are `plan.local_steps` Poisson-sampled Gaussian
            mechanisms with `plan.noise_multiplier` at user level; everything else is public. With
            `plan.noise_shops` above 1 that holds for the sum of so many shops' updates alone, and
            for one step.
        """
        random = self._random(plan, "train", round)
        model = attach(self.base(), self.settings, seed=plan.seed, device=self.device)
        load_adapter_arrays(model, adapter)
        set_trainable(model, plan.aggregation)
        loss = self._loss(model, plan, candidates, random.generator())
        sums = train_privately(
            model=model,
            loss=loss,
            n_users=self.n_users,
            spec=self._spec(plan),
            random=random,
            device=self.device,
        )
        return {array_name(name): tensor.numpy() for name, tensor in sums.items()}

    def item_counts(self, *, plan: Plan) -> Integers:
        """Releases the shop's item counts with noise, `(n_items,)`, in steps of 1 / `GRID`.

        Each user adds 1 / sqrt(number of its items) to each of its items: norm 1, sensitivity 1.

        Guarantee:
            One Gaussian mechanism with `plan.counts_noise_multiplier`, at user level; with
            `plan.noise_shops` above 1 for the sum of so many shops' counts alone.
        """
        noise = discrete_gaussian(
            self._random(plan, "counts", 0),
            self.n_items,
            variance=plan.own_variance(plan.counts_noise_multiplier),
        )
        return grid_user_counts(self.events, self.n_items) + noise

    def pair_sums(self, *, plan: Plan, head: CodesArray) -> Integers:
        """Releases the shop's pair sums over the head with noise, in steps of 1 / `GRID`.

        Returns:
            `(h (h - 1) / 2,)`.

        Guarantee:
            One Gaussian mechanism with `plan.pairs_noise_multiplier`, at user level; with
            `plan.noise_shops` above 1 for the sum of so many shops' pair sums alone.

        Assumes:
            The head comes from noisy counts or other public facts.

        Raises:
            PrivacyError: The head is none.
        """
        check_head(head, n_items=self.n_items, most=plan.head_items)
        noise = discrete_gaussian(
            self._random(plan, "pairs", 0),
            n_pairs(len(head)),
            variance=plan.own_variance(plan.pairs_noise_multiplier),
        )
        events = self.events if self.all_events is None else self.all_events
        sums = grid_pair_sums(events, head)
        if self.save_own_pairs is not None:
            own = OwnPairSums(sums / GRID, user_sizes(events, head))
            self.save_own_pairs(plan.digest(), head, own)
        return sums + noise

    def _random(self, plan: Plan, purpose: str, server_round: int) -> RandomSource:
        return self.randomness(plan.seed, self.shop_id, purpose, server_round)

    def _spec(self, plan: Plan) -> StepSpec:
        return StepSpec(
            steps=plan.local_steps,
            sample_rate=plan.sample_rate,
            divisor=plan.divisor,
            max_grad_norm=plan.max_grad_norm,
            noise_variance=plan.own_variance(plan.noise_multiplier),
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
