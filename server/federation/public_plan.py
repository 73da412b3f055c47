"""From settings to the public plan.

The noise is worked out before the first step, and the candidates of each round.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from shared.errors import PrivacyError
from shared.privacy.accounting.calibration import calibrate
from shared.privacy.accounting.guarantee import (
    COUNTS_MAX_NORM,
    PAIRS_MAX_NORM,
    Mechanism,
    own_noise,
)
from shared.privacy.accounting.roster_bounds import RosterBounds
from shared.protocol.messages import FloatArray, Plan, summed_noise_std
from shared.releases.noisy_statistics import denoise_counts, smoothed
from shared.secure_aggregation.roster import Roster
from shared.settings.run_settings import RunSettings

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
        pairs_max_norm=PAIRS_MAX_NORM,
    )


def make_plan(
    settings: RunSettings,
    mechanisms: tuple[Mechanism, ...],
    *,
    n_shops: int,
    n_trained: int,
    base_hash: str,
    roster: Roster | None = None,
) -> Plan:
    """Builds the public plan.

    Args:
        settings: The run's settings.
        mechanisms: From `mechanisms_of`; empty trains without privacy.
        n_shops: Shops in the federation (public).
        n_trained: Trained parameters.
        base_hash: SHA-256 of the frozen base.
        roster: Under which the shops share the noise; None shares it in a simulation alone.

    Raises:
        PrivacyError: There are too few shops for those that may be missing and may collude.
        ValueError: What follows from the unit of time is not filled in.
    """
    scale, half_life = settings.model.scale, settings.model.half_life
    if scale is None or half_life is None:
        raise ValueError("scale and half_life must be filled in by resolve_time_defaults first")
    noise = {mechanism.name: mechanism.noise_multiplier for mechanism in mechanisms}
    training, privacy = settings.training, settings.privacy
    noise_shops = 1
    if privacy.noise == "shared" and mechanisms:
        noise_shops = (roster.bounds if roster else shared_bounds(settings, n_shops)).noise_shops
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
        roster=roster.digest() if roster is not None and mechanisms else "",
        private=bool(mechanisms),
        aggregation=settings.federation.aggregation,
        scale=scale,
        half_life=half_life,
        base_hash=base_hash,
        seed=settings.seed,
    )


def shared_bounds(settings: RunSettings, n_shops: int) -> RosterBounds:
    """Returns the numbers of the roster that shops with shared noise would sign.

    Raises:
        PrivacyError: There are too few shops.
    """
    privacy = settings.privacy
    return RosterBounds.usual(
        n_shops, max_missing=privacy.max_missing, max_colluding=privacy.max_colluding
    ).check()


def check_shared(settings: RunSettings, n_shops: int) -> None:
    """Refuses shared noise among too few shops, before anything is trained.

    Raises:
        PrivacyError: There are too few for those that may be missing and may collude.
    """
    if settings.privacy.noise == "shared" and settings.privacy.epsilon is not None:
        shared_bounds(settings, n_shops)


def with_noise(settings: RunSettings, n_shops: int) -> RunSettings:
    """Fills in who adds the noise where the settings leave it open."""
    if settings.privacy.noise is not None:
        return settings
    try:
        shared_bounds(settings, n_shops)
        noise = "shop" if settings.needs_single_updates() else "shared"
    except PrivacyError:
        noise = "shop"
    privacy = settings.privacy.model_copy(update={"noise": noise})
    return settings.model_copy(update={"privacy": privacy})


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


def draw_candidates(
    n_items: int, *, size: int, seed: int, server_round: int, popularity: FloatArray | None
) -> npt.NDArray[np.int64]:
    """Draws item codes with replacement.

    Args:
        n_items: Items of the public catalogue.
        size: Number of draws.
        seed: Public seed of the run.
        server_round: From 1.
        popularity: Estimate from paid counts `(n_items,)`; None draws uniformly. Candidates as
            popular as targets leave the adapter to learn what goes with what.

    Returns:
        Codes `(size,)`.
    """
    rng = np.random.default_rng([seed, server_round])
    if popularity is None or not popularity.any():
        return rng.integers(0, n_items, size)
    weight = smoothed(popularity).astype(np.float64)
    return rng.choice(n_items, size, p=weight / weight.sum())


class CandidateSource:
    """Draws the rounds' candidates from the noisy counts; the same after every crash.

    Args:
        plan: Public plan of the run.
        item_vectors: Returns the public item vectors `(n_items, dim)`; called once, when there are
            counts.
        n_items: Items of the public catalogue.
    """

    def __init__(self, plan: Plan, item_vectors: Callable[[], FloatArray], *, n_items: int) -> None:
        self._plan, self._item_vectors, self._n_items = plan, item_vectors, n_items
        self._popularity: FloatArray | None = None

    def popularity(self, counts: FloatArray, *, n_replies: int) -> FloatArray:
        """Returns the popularity of items `(n_items,)`, estimated once from the noisy counts."""
        if self._popularity is None:
            std = summed_noise_std(self._plan, "counts", n_replies=n_replies)
            self._popularity = denoise_counts(counts, self._item_vectors(), std=std)
        return self._popularity

    def __call__(
        self, server_round: int, counts: FloatArray | None, n_replies: int
    ) -> npt.NDArray[np.int64]:
        """Returns the item codes of a round."""
        return draw_candidates(
            self._n_items,
            size=self._plan.candidates,
            seed=self._plan.seed,
            server_round=server_round,
            popularity=None if counts is None else self.popularity(counts, n_replies=n_replies),
        )
