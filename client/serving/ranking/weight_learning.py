"""What a shop learns from its latest events: fusion weights, and its map of texts."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from client.fusion.fusion_weights import is_sparse
from client.fusion.pools import surface_pool
from client.fusion.short_histories import mean_items
from client.recommenders.interface import Recommender
from client.recommenders.local import local_recommenders
from client.recommenders.profile import ProfileRecommender
from client.recommenders.queries import History
from client.recommenders.text_map import TextMap
from client.recommenders.visits import TAKEN_TYPES
from client.serving.features.federated_statistics import fit_pairs
from client.serving.features.interactions import Interactions
from client.serving.ranking.fusion_weights import (
    PROFILE_VARIANTS,
    SERVED_SURFACES,
    FusionWeights,
    fit_fusion_weights,
    public_fusion_weights,
)
from client.serving.ranking.signals import SignalSources
from shared.interactions.events import Events

MAX_USERS = 2000
"""Users whose latest events are asked about."""
VALIDATION_SHARE = 0.1
"""Share of dated events that are asked about, the latest."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LearnedFusion:
    """What a service is told to serve with.

    Attributes:
        weights: By surface of the service.
        text_map: The shop's own map of texts `(d, d)`, of all events.
    """

    weights: dict[str, FusionWeights]
    text_map: Floats | None

    def to_json(self) -> dict[str, Any]:
        """Returns plain values; the map as base64 of little-endian float32."""
        plain = {surface: weights.to_json() for surface, weights in self.weights.items()}
        if self.text_map is None:
            return {"mixes": plain, "text_map": None}
        data = base64.b64encode(self.text_map.astype("<f4").tobytes()).decode()
        return {"mixes": plain, "text_map": data}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> LearnedFusion:
        """Reads what `to_json` wrote."""
        weights = {name: FusionWeights(**weights) for name, weights in record["mixes"].items()}
        if (data := record["text_map"]) is None:
            return LearnedFusion(weights, None)
        flat = np.frombuffer(base64.b64decode(data), dtype="<f4").astype(np.float32)
        dim = math.isqrt(len(flat))
        return LearnedFusion(weights, flat.reshape(dim, dim))


def learn_fusion_weights(
    sources: SignalSources,
    interactions: Interactions,
    *,
    seed: int,
    validation_start: float | None = None,
    taken_types: npt.NDArray[np.bool_] = TAKEN_TYPES,
) -> LearnedFusion:
    """Learns the weights of all surfaces from what is known before the latest events.

    Args:
        sources: Of the present; all that is the shop's own is fitted anew.
        interactions: All users.
        seed: Splits the carts, and chooses the users where there are many.
        validation_start: First day of the validation window, for dates; None for that of the latest
            tenth of the events.
        taken_types: Types that say that a user has an item, mask over `EVENT_TYPES`.
    """
    vectors = sources.space.vectors[:]
    history = interactions.history(len(vectors), taken_types)
    has_users = len(history.events) > 0
    weights = public_fusion_weights(sources, sparse=is_sparse(history), has_users=has_users)
    if not len(interactions.columns):
        return LearnedFusion(weights, None)
    # The past ends where validation begins: a weight learned on events that the signals have seen
    # would favour those that memorise.
    known, window = _split(history, sources.time_unit, validation_start)
    usual = mean_items(known)
    weights = {surface: replace(mix, usual=usual) for surface, mix in weights.items()}
    window = _of_some(window.select(taken_types[window.event_type]), seed)
    fitted = _fitted(sources, known, vectors)
    for surface, public in SERVED_SURFACES.items():
        pool = surface_pool(public, fitted, known=known, window=window, seed=seed)
        if pool is not None:
            weights[surface] = fit_fusion_weights(pool, public, sources, known)
    text_map = TextMap.of_unit(vectors, sources.time_unit).fit(history).map
    return LearnedFusion(weights, text_map)


def _split(history: History, time_unit: str, start: float | None) -> tuple[History, Events]:
    """Cuts at a date, or before each user's last event where that leaves one at least."""
    events = history.events
    if time_unit == "days":
        cut = float(np.quantile(events.time, 1 - VALIDATION_SHARE)) if start is None else start
        late = events.time >= cut
    else:
        sizes = np.bincount(events.user, minlength=len(history.now))
        is_last = np.r_[events.user[1:] != events.user[:-1], True]
        late = is_last & (sizes[events.user] >= 2)
    early = events.select(~late)
    # Where events have dates, an item that nobody had taken yet was not for sale yet.
    items = np.unique(early.item) if time_unit == "days" else history.candidates
    known = replace(history, events=early, candidates=items.astype(np.int32), visit=None)
    return known, events.select(late)


def _of_some(window: Events, seed: int) -> Events:
    users = np.unique(window.user)
    if len(users) > MAX_USERS:
        users = np.random.default_rng(seed).permutation(users)[:MAX_USERS]
    return window.select(np.isin(window.user, users))


def _fitted(sources: SignalSources, known: History, vectors: Floats) -> dict[str, Recommender]:
    """Fits every signal, and every variant of the profile model, on what was known."""
    unit, space, federated = sources.time_unit, sources.space, sources.federated
    fitted: dict[str, Recommender] = {
        name: recommender.fit(known)
        for name, recommender in local_recommenders(vectors, unit).items()
    }
    pairs = fit_pairs(known, federated, time_unit=unit)
    if pairs is not None:
        fitted["pairs"] = pairs
    if not space.has_adapter:
        return fitted
    prior = None if federated.prior is None else federated.prior.values
    variants = PROFILE_VARIANTS if prior is not None else {"global": 0.0}
    for name, strength in variants.items():
        fitted[name] = ProfileRecommender(
            vectors,
            lambda profiles: np.float32(federated.scale) * space.global_profile(profiles),
            prior,
            half_life=space.half_life,
            prior_weight=strength,
            co_purchase=federated.co_purchase,
        )
    if prior is not None:
        fitted["prior"] = ProfileRecommender(
            vectors, np.zeros_like, prior, half_life=space.half_life
        )
    return fitted
