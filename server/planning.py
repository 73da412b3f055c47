"""From settings to the public plan: the noise is found before the first step."""

from __future__ import annotations

import math

from shared.config import RunSettings
from shared.plan import Plan
from shared.privacy.calibration import calibrate
from shared.privacy.guarantee import COUNTS_MAX_NORM, Mechanism, own_noise
from shared.releases.pairs import MAX_NORM

HEAD_ITEMS = 1000
"""Items whose pairs are released, where neither settings nor the kind of data say a number."""


def mechanisms_of(settings: RunSettings) -> tuple[Mechanism, ...]:
    """Returns what is released of each shop, with the noise that meets the budget.

    With shared noise that is the noise of the sum over all shops; how many these are, the plan
    tells.

    Raises:
        PrivacyError: The budget cannot be met.
    """
    privacy, training = settings.privacy, settings.training
    if privacy.epsilon is None:
        return ()
    return calibrate(
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        steps=training.rounds * training.local_steps,
        sample_rate=training.sample_rate,
        max_grad_norm=training.max_grad_norm,
        counts_share=privacy.counts_share,
        pairs_share=privacy.pairs_share,
        adapter_share=privacy.adapter_share,
        counts_max_norm=COUNTS_MAX_NORM,
        pairs_max_norm=MAX_NORM,
    )


def make_plan(
    settings: RunSettings,
    mechanisms: tuple[Mechanism, ...],
    *,
    n_shops: int,
    n_trained: int,
    base_hash: str,
) -> Plan:
    """Builds the public plan.

    Args:
        settings: The run's settings.
        mechanisms: From `mechanisms_of`; empty trains without privacy.
        n_shops: Shops in the federation (public).
        n_trained: Trained parameters.
        base_hash: SHA-256 of the frozen base.
    """
    noise = {mechanism.name: mechanism.noise_multiplier for mechanism in mechanisms}
    training, model, privacy = settings.training, settings.model, settings.privacy
    noise_shops = n_shops if privacy.noise == "shared" and mechanisms else 1
    rate = training.learning_rate or learning_rate(
        own_noise(noise.get("dp-sgd", 0.0), noise_shops),
        divisor=training.divisor,
        n_shops=n_shops,
        n_trained=n_trained,
    )
    return Plan(
        **training.model_dump(exclude={"learning_rate", "rounds"}),
        rounds=training.rounds if privacy.adapter_share > 0 else 0,
        noise_multiplier=noise.get("dp-sgd", 0.0),
        learning_rate=rate,
        counts_noise_multiplier=noise.get("item-counts", 0.0),
        counts_release=privacy.counts_share > 0,
        pairs_noise_multiplier=noise.get("pair-sums", 0.0),
        pairs_release=privacy.pairs_share > 0,
        head_items=privacy.head_items or HEAD_ITEMS,
        noise_shops=noise_shops,
        private=bool(mechanisms),
        aggregation=settings.federation.aggregation,
        scale=model.scale,
        half_life=model.half_life,
        base_hash=base_hash,
        seed=settings.seed,
    )


def learning_rate(
    noise_multiplier: float, *, divisor: float, n_shops: int, n_trained: int
) -> float:
    """Returns a step size that falls as the noise of the mean update grows; public.

    The noise of one aggregated step, at learning rate 1, is a vector of length about
    `noise_multiplier * sqrt(n_trained / n_shops) / divisor`, where `noise_multiplier` is what one
    shop adds, while the users' normalised gradients add up to at most (users of a shop) / divisor:
    of order 1 where the divisor is well chosen.
    """
    noise = noise_multiplier * math.sqrt(n_trained / n_shops) / divisor
    return 1.0 / (1.0 + noise)
