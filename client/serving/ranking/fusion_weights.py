"""Fusion weights of a surface: of the shop's own signals, and with those of the federation.

The federation's popularity belongs to its profile model: its training leaves popularity out, so the
two are joined as one signal, with as much popularity as the shop's users show to be right, and
enter the fusion together. Each then has a weight of its own again,
so that a score can be explained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from client.fusion import scores as fusion
from client.fusion.fusion_weights import (
    add_federated_signals,
    add_public_federated_weights,
    default_weights,
    is_cautious,
    is_sparse,
    local_weights,
    weights_without_users,
)
from client.fusion.hyperparameters import choose
from client.fusion.short_histories import mean_items
from client.recommenders.config import PRIOR_STRENGTHS
from client.recommenders.queries import Floats, History
from client.serving.ranking.signals import SIGNAL_NAMES, SignalSources

SERVED_SURFACES = {
    "for-you": "for-you",
    "discover": "discover",
    "session": "basket",
    "new-user": "new-user",
}
"""Surface of the service -> surface of the evaluation whose public weights it starts from; the
weights of new users count on *discover* as far as a history is short."""
PROFILE_VARIANTS = dict(
    zip(("global-prior", "global-half", "global"), PRIOR_STRENGTHS, strict=True)
)
"""Variants of the profile model and their strength of popularity, as in the evaluation."""
_SAMPLE = 32

Weights = dict[str, float]


@dataclass(frozen=True)
class FusionWeights:
    """Weights of one surface and what they are worth.

    Attributes:
        local: Weights of the shop's own signals, sum 1.
        fused: Weights with the federation's signals among them; their sum may be above 1, see
            `apart`.
        queries: Validation queries that they were learned on; 0 for public weights.
        usual: Distinct items of the shop's users on average when they were learned.
        ndcg: NDCG@10 on them, by signal, and of `local` and `fused`.
    """

    local: Weights
    fused: Weights
    queries: int = 0
    usual: float = 0.0
    ndcg: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)


def federated_signals(sources: SignalSources) -> tuple[str, ...]:
    """Returns the signals of the federation that a shop has."""
    there = {
        "global": sources.space.has_adapter,
        "pairs": sources.federated.gram is not None,
        "prior": sources.space.has_adapter and sources.federated.prior is not None,
    }
    return tuple(name for name in SIGNAL_NAMES if there.get(name, False))


def profile_variants(sources: SignalSources) -> tuple[str, ...]:
    """Returns the variants of the profile model that a shop can try."""
    names = federated_signals(sources)
    if "prior" in names:
        return tuple(PROFILE_VARIANTS)
    return ("global",) if "global" in names else ()


def public_fusion_weights(
    sources: SignalSources, *, sparse: bool = False, has_users: bool = True
) -> dict[str, FusionWeights]:
    """Returns the weights of a shop that has learned none yet.

    The federation has its public weight as far as the releases stand out of their noise.

    Args:
        sources: Says which signals there are.
        sparse: As `client.fusion.fusion_weights.is_sparse`.
        has_users: Whether anybody has done anything in the shop yet.
    """
    reliability = sources.federated.reliability
    alone = not has_users and sources.time_unit == "days" and reliability > 0
    names = [name for name in ("pairs",) if name in federated_signals(sources)]
    names += profile_variants(sources)[:1]
    fusion_weights = {}
    for surface, public in SERVED_SURFACES.items():
        local = default_weights(public, sources.local_signals, sparse=sparse)
        if alone:
            fused = weights_without_users(local, names, surface=public)
        else:
            fused = add_public_federated_weights(
                local, names, surface=public, reliability=reliability
            )
        fusion_weights[surface] = FusionWeights(local, split_profile_weight(fused, sources))
    return fusion_weights


def fit_fusion_weights(
    pool: fusion.Pool, public: str, sources: SignalSources, known: History
) -> FusionWeights:
    """Learns a surface's weights by the code that the evaluation learns them by.

    Args:
        pool: The validation queries, with every signal and every variant of the profile model.
        public: Surface of the evaluation whose public weights count.
        sources: What the signals were computed from.
        known: What they were fitted on.
    """
    own, outside = sources.local_signals, federated_signals(sources)
    sparse = is_sparse(known)
    local = local_weights(pool, public, own, sparse=sparse)
    names = tuple(name for name in ("pairs",) if name in outside)
    if tried := profile_variants(sources):
        names += (_choose_variant(pool, tried),)
    joined = add_federated_signals(
        pool,
        local,
        names,
        surface=public,
        reliability=sources.federated.reliability,
        cautious=is_cautious(public, sparse=sparse),
    )
    fused = split_profile_weight(joined, sources)
    measured = {name: {name: 1.0} for name in (*own, *outside)} | {"local": local, "fused": joined}
    ndcg = {name: float(pool.ndcg(weights).mean()) for name, weights in measured.items()}
    return FusionWeights(_plain(local), _plain(fused), len(pool.targets), mean_items(known), ndcg)


def _choose_variant(pool: fusion.Pool, tried: tuple[str, ...]) -> str:
    """Chooses how much popularity the profile model gets: the default unless clearly beaten."""
    return tried[choose([pool.ndcg({name: 1.0}) for name in tried])]


def split_profile_weight(weights: Mapping[str, float], sources: SignalSources) -> Weights:
    """Writes the weight of a variant of the profile model as weights of `global` and `prior`.

    Both signals are standardised on their own, so each gets the weight times its share in the
    deviation of the variant, as it is for histories of one item.

    Returns:
        A weight for every signal. The sum is that of `weights` or more: the deviations of two
        signals add up to no less than that of their sum. Only the order of scores matters.
    """
    by_signal = dict.fromkeys(SIGNAL_NAMES, 0.0) | {
        n: w for n, w in weights.items() if n in SIGNAL_NAMES
    }
    for name, strength in PROFILE_VARIANTS.items():
        if name not in SIGNAL_NAMES and weights.get(name, 0.0) > 0:
            own, prior = _shares(sources, strength)
            by_signal["global"] += weights[name] * own
            by_signal["prior"] += weights[name] * prior
    return by_signal


def _shares(sources: SignalSources, strength: float) -> tuple[float, float]:
    """Deviation of similarities and of popularity over that of their sum, typically."""
    space, federated = sources.space, sources.federated
    if federated.prior is None or not len(space.vectors):
        return 1.0, 0.0
    sample = np.unique(np.linspace(0, len(space.vectors) - 1, _SAMPLE).astype(np.int64))
    histories = [_history_of_one(sources, row) for row in sample.tolist()]
    scores = [sources.global_scores(*history).dense(space.vectors) for history in histories]
    alike = np.stack(scores, axis=1).astype(np.float64)
    prior = strength * federated.prior.values.astype(np.float64)
    together = (alike + prior[:, None]).std(axis=0)
    together_or_inf = np.where(together > 0, together, np.inf)
    return float((alike.std(axis=0) / together_or_inf).mean()), float(
        (prior.std() / together_or_inf).mean()
    )


def _history_of_one(sources: SignalSources, row: int) -> tuple[Floats, Floats]:
    """Returns what the profile model sees of a history of one item."""
    vectors, one = sources.federated.co_purchase, np.ones(1, dtype=np.float32)
    nothing = np.zeros(0, dtype=np.float32)
    shared = nothing if vectors is None else vectors.profile(np.array([row]), one)
    return sources.space.vectors[row], shared


def _plain(weights: Mapping[str, float]) -> Weights:
    return {name: float(weight) for name, weight in weights.items()}
