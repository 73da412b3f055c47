"""From settings to the public plan: the noise is found before the first step."""

from __future__ import annotations

import math

from shared.config import RunSettings
from shared.plan import Plan
from shared.privacy.calibration import calibrate
from shared.privacy.guarantee import COUNTS_MAX_NORM, Mechanism


def mechanisms_of(settings: RunSettings) -> tuple[Mechanism, ...]:
    """Returns what each shop will release, with the noise that meets the budget.

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
        counts_max_norm=COUNTS_MAX_NORM,
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
    training, model = settings.training, settings.model
    rate = training.learning_rate or learning_rate(
        noise.get("dp-sgd", 0.0), divisor=training.divisor, n_shops=n_shops, n_trained=n_trained
    )
    return Plan(
        **training.model_dump(exclude={"learning_rate"}),
        noise_multiplier=noise.get("dp-sgd", 0.0),
        learning_rate=rate,
        counts_noise_multiplier=noise.get("item-counts", 0.0),
        counts_release=settings.privacy.counts_share > 0,
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
    `noise_multiplier * sqrt(n_trained / n_shops) / divisor`, while the users' normalised gradients
    add up to at most (users of a shop) / divisor: of order 1 where the divisor is well chosen.
    """
    noise = noise_multiplier * math.sqrt(n_trained / n_shops) / divisor
    return 1.0 / (1.0 + noise)
