"""Fusion weights of a surface: of the shop's own signals, and with those of the federation.

The federation's popularity belongs to its profile model: its training leaves popularity out, so the
two are joined as one signal, with as much popularity as the shop's users show to be right, and
enter the fusion together. A mix then names the weight of each, so that a score can be explained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from client import fusion, fusion_weights
from client.serving.signals import LOCAL, NAMES, Sources

SURFACES = {"for-you": "for-you", "discover": "discover", "session": "basket"}
"""Surface of the service -> surface of the evaluation whose public mix it starts from."""
MIN_QUERIES = 20
"""Fewer queries than this say nothing; the public mix is used then."""
STRENGTHS = {"global-prior": 1.0, "global-half": 0.5, "global": 0.0}
"""Variants of the profile model, the default first: how much of the popularity in all shops each
has beside the similarities; as in the simulation's evaluation."""
_SAMPLE = 32

Weights = dict[str, float]


@dataclass(frozen=True)
class Mix:
    """Weights of one surface and what they are worth.

    Attributes:
        local: Weights of the shop's own signals, sum 1.
        fused: Weights with the federation's signals among them; their sum may be above 1, see
            `apart`.
        queries: Validation queries that they were learned on; 0 for the public mix.
        ndcg: NDCG@10 on them, by signal, and of `local` and `fused`.
    """

    local: Weights
    fused: Weights
    queries: int = 0
    ndcg: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)


def of_federation(sources: Sources) -> tuple[str, ...]:
    """Returns the signals of the federation that a shop has."""
    there = {
        "global": sources.space.has_adapter,
        "pairs": sources.outside.gram is not None,
        "prior": sources.space.has_adapter and sources.outside.prior is not None,
    }
    return tuple(name for name in NAMES if there.get(name, False))


def variants(sources: Sources) -> tuple[str, ...]:
    """Returns the variants of the profile model that a shop can try."""
    names = of_federation(sources)
    if "prior" in names:
        return tuple(STRENGTHS)
    return ("global",) if "global" in names else ()


def public_mixes(sources: Sources) -> dict[str, Mix]:
    """Returns the mixes of a shop that has learned none yet.

    The federation has its public weight as far as the releases stand out of their noise.
    """
    names = [name for name in ("pairs",) if name in of_federation(sources)]
    names += variants(sources)[:1]
    mixes, trust = {}, sources.outside.reliability
    for surface, public in SURFACES.items():
        local = fusion_weights.default_weights(public, LOCAL)
        whole = fusion_weights.outside_weights(local, names, surface=public)
        found = {name: trust * weight + (1 - trust) * local.get(name, 0.0)
                 for name, weight in whole.items()}  # fmt: skip
        mixes[surface] = Mix(local, apart(found, sources))
    return mixes


def fit(pool: fusion.Pool, public: str, sources: Sources) -> Mix | None:
    """Learns the mix of a surface, never worse on the queries than the best single local signal.

    Args:
        pool: The validation queries, with every signal and every variant of the profile model.
        public: Surface of the evaluation whose public mix counts.
        sources: What the signals were computed from.

    Returns:
        None where there are too few queries.
    """
    if len(pool.targets) < MIN_QUERIES:
        return None
    singles = (*LOCAL, *of_federation(sources))
    ndcg = {name: float(pool.ndcg({name: 1.0}).mean()) for name in singles}
    best = max(LOCAL, key=lambda name: ndcg[name])
    local = _no_worse(pool, fusion_weights.local_weights(pool, public, LOCAL), best)
    fused = _with_federation(pool, local, public, sources)
    ndcg |= {"local": float(pool.ndcg(local).mean()), "fused": float(pool.ndcg(fused).mean())}
    return Mix(_plain(local), _plain(fused), len(pool.targets), ndcg)


def _with_federation(pool: fusion.Pool, local: Weights, public: str, sources: Sources) -> Weights:
    """Lets the federation's signals in, unless the queries speak against them."""
    names = [name for name in ("pairs",) if name in of_federation(sources)]
    names += [_variant(pool, tried)] if (tried := variants(sources)) else []
    without = apart(local, sources)
    if not names:
        return without
    # With public weights first; where these cost something here, by what the queries clearly show.
    for trust in (sources.outside.reliability, 0.0):
        joined = fusion_weights.join(pool, local, names, surface=public, reliability=trust)
        found = apart(joined, sources)
        if pool.ndcg(found).mean() > pool.ndcg(without).mean():
            return found
    return without


def _variant(pool: fusion.Pool, tried: tuple[str, ...]) -> str:
    """Chooses how much popularity goes with the profile model: the default unless clearly beaten.

    With few queries or much luck the default stays, as in `client.recommenders.tuning`.
    """
    values = [pool.ndcg({name: 1.0}) for name in tried]
    top = int(np.argmax([value.mean() for value in values]))
    return tried[top] if fusion.better(values[top], values[0], caution=1.0) else tried[0]


def apart(weights: Mapping[str, float], sources: Sources) -> Weights:
    """Writes the weight of a variant of the profile model as weights of `global` and `prior`.

    Both signals are standardised on their own, so each gets the weight times its share in the
    deviation of the variant, as it is for histories of one item.

    Returns:
        A weight for every signal. The sum is that of `weights` or more: the deviations of two
        signals add up to no less than that of their sum. Only the order of scores matters.
    """
    found = dict.fromkeys(NAMES, 0.0) | {n: w for n, w in weights.items() if n in NAMES}
    for name, strength in STRENGTHS.items():
        if name not in NAMES and weights.get(name, 0.0) > 0:
            own, prior = _shares(sources, strength)
            found["global"] += weights[name] * own
            found["prior"] += weights[name] * prior
    return found


def _shares(sources: Sources, strength: float) -> tuple[float, float]:
    """Deviation of similarities and of popularity over that of their sum, typically."""
    space, outside = sources.space, sources.outside
    if outside.prior is None or not len(space.vectors):
        return 1.0, 0.0
    some = np.unique(np.linspace(0, len(space.vectors) - 1, _SAMPLE).astype(np.int64))
    profiles = [space.global_profile(vector) for vector in space.vectors[some]]
    scores = np.stack([space.vectors.scores(profile) for profile in profiles], axis=1)
    alike = outside.scale * scores.astype(np.float64)
    prior = strength * outside.prior.values.astype(np.float64)
    together = (alike + prior[:, None]).std(axis=0)
    whole = np.where(together > 0, together, np.inf)
    return float((alike.std(axis=0) / whole).mean()), float((prior.std() / whole).mean())


def _no_worse(pool: fusion.Pool, weights: Weights, single: str) -> Weights:
    """Returns the weights, or the best single signal alone where they rank below it."""
    alone = {name: float(name == single) for name in weights}
    return weights if pool.ndcg(weights).mean() >= pool.ndcg(alone).mean() else alone


def _plain(weights: Mapping[str, float]) -> Weights:
    return {name: float(weight) for name, weight in weights.items()}
