"""Weights of a fusion, which a shop learns from its own users.

Small shops have few users to learn from, so two things hold the weights back: those of the local
signals are the mean of what fits the shop's validation window and of a public mix, and a further
signal, such as the federated model, enters only for a gain that is no mere luck.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from client.fusion import Pool, better, fuse

CAUTION = {
    "for-you": 2.0,
    "discover": 0.5,
    "tail": 0.5,
    "cold": 1.0,
    "new-user": 0.5,
    "basket": 1.0,
}
"""Standard errors by which a further signal must win on the validation window, by surface.

Where a shopper's own habit answers most questions, a further signal seldom helps and a lucky
validation window misleads; where nothing local knows the answer, caution costs more than it saves.
"""
STEPS = (0.0, 0.1, 0.25, 0.6, 1.5, 4.0)
"""Weights that are tried, on standardised scores."""
KEEP = (1.0, 0.5, 0.2, 0.0)
"""Factors on the weights of `COLLABORATIVE` that are tried when a signal from outside comes in."""
COLLABORATIVE = ("ease", "item-knn", "als")
"""Local signals that know the same as signals of many shops' behaviour, from fewer users."""
_NEW = {"ease": 1.0, "text": 0.4, "item-knn": 0.2, "popularity": 0.2}
_SPARSE = {"text-map": 4.0, "ease": 1.0}
_COLD = {"text": 1.0}
MIXES: dict[str, tuple[dict[str, float], ...]] = {
    "for-you": ({"ease": 1.0, "frequency": 0.4, "text": 0.1}, _NEW, _SPARSE),
    "discover": (_NEW, _SPARSE),
    "tail": ({"ease": 1.0, "text": 0.8, "popularity": 0.2}, _SPARSE),
    "cold": (_COLD, {"text-map": 1.0}),
    "new-user": (_NEW, _SPARSE),
    "basket": ({"frequency": 1.6, "ease": 0.8, "item-knn": 0.4, "text": 0.2}, _NEW),
}
"""Public mixes of the local signals by surface, the default first; the best for a shop counts.

`_SPARSE` is for catalogues with a handful of events a user, where text says more than others do.
"""

OUTSIDE: dict[str, dict[str, float]] = {
    "for-you": {},
    "discover": {"pairs": 0.3, "global": 1.0},
    "tail": {"pairs": 0.3, "global": 1.0},
    "cold": {},
    "new-user": {"pairs": 0.3, "global": 1.0},
    "basket": {},
}
"""Public weights of signals from outside beside local ones with sum 1, by kind and surface."""
ALONE = 3.0
"""Factor on the public weight of the global model where no pairs were released beside it."""

Weights = dict[str, float]
_CYCLES = 2
_PRIOR_QUERIES = 200.0
"""Validation queries that count as much as the public mix."""
LEAST_QUERIES = 30
"""Queries below which no weights of signals from outside are fitted: luck would choose them."""
_LENIENCE = 1.5
"""Standard errors by which caution falls for a shop without any validation query."""


def local_weights(
    pool: Pool, surface: str, names: Sequence[str], *, sparse: bool = False
) -> Weights:
    """Finds the weights of a shop's own signals.

    Args:
        pool: The validation queries of the surface.
        surface: Names the public mixes to shrink towards.
        names: The signals that may be used.
        sparse: Whether users have a handful of events; names the mix that counts without evidence.

    Returns:
        Weights with sum 1, one for each name: the mean of the fitted weights and a public mix, the
        more of the mix the fewer the queries; or the fitted ones where the mean clearly ranks worse
        than the best single signal.
    """
    fitted, single = fit_weights(pool, names)
    mixes = [mix_weights(mix, names) for mix in _ordered(surface, names, sparse=sparse)]
    values = [pool.ndcg(mix) for mix in mixes]
    top = int(np.argmax([value.mean() for value in values]))
    trust = public_trust(pool)
    mix = mixes[top] if better(values[top], values[0], caution=2 * trust) else mixes[0]
    share = max(trust, 0.5)
    mean = {name: (1 - share) * fitted[name] + share * mix[name] for name in names}
    worse = better(pool.ndcg(single), pool.ndcg(mean), caution=2 * trust)
    return fitted if worse else mean


def public_trust(pool: Pool) -> float:
    """Weight of what is publicly known against what the validation queries say, in (0, 1]."""
    return _PRIOR_QUERIES / (_PRIOR_QUERIES + len(pool.n_targets))


def mix_weights(mix: Mapping[str, float], names: Sequence[str]) -> Weights:
    """Writes a public mix as weights with sum 1, one for each name."""
    return _normal({name: mix.get(name, 0.0) for name in names})


def _ordered(surface: str, names: Sequence[str], *, sparse: bool) -> list[dict[str, float]]:
    """Lists the public mixes that say something of `names`, the default first."""
    mixes = [mix for mix in MIXES[surface] if any(name in mix for name in names)]
    return sorted(mixes, key=lambda mix: mix != _SPARSE) if sparse else mixes


def default_weights(surface: str, names: Sequence[str], *, sparse: bool = False) -> Weights:
    """Returns the public mix of a surface, for a shop without validation queries."""
    return mix_weights(_ordered(surface, names, sparse=sparse)[0], names)


def fit_weights(pool: Pool, names: Sequence[str]) -> tuple[Weights, Weights]:
    """Fits weights by coordinate search from the best single signal.

    Returns:
        Weights with sum 1 that reach the validation NDCG@10 of the best single signal, and that
        signal alone.
    """
    singles = [{name: float(name == single) for name in names} for single in names]
    values = [float(pool.ndcg(single).mean()) for single in singles]
    best = max(values)
    weights = single = singles[values.index(best)]
    tried: set[tuple[float, ...]] = {tuple(alone.values()) for alone in singles}
    for _ in range(_CYCLES):
        before = weights
        for name in names:
            for trial in ({**weights, name: step} for step in STEPS):
                if not any(trial.values()) or _again(tried, *trial.values()):
                    continue
                if (value := float(pool.ndcg(trial).mean())) > best:
                    best, weights = value, trial
        if weights == before:
            break
    return _normal(weights), single


def join(
    pool: Pool,
    weights: Mapping[str, float],
    names: Sequence[str],
    *,
    surface: str,
    reliability: float = 1.0,
    least: int = LEAST_QUERIES,
) -> Weights:
    """Lets signals from outside into local weights, unless validation speaks against it.

    A shop with few validation users leans on the public mix `OUTSIDE` and lets signals in unless
    its users speak against them; a shop with many goes by what they clearly show. A handful of
    queries gives no weights of its own: then what comes in is the public mix, as far as it may be
    relied on.

    Args:
        pool: The validation queries of the surface.
        weights: Of the local signals, with sum 1.
        names: Signals from outside; the first part of a name, up to a dash, is its kind.
        surface: Names the caution and the public mix. Without a public mix for any of `names` the
            validation queries alone decide.
        reliability: How far the public mix may be relied on, in [0, 1]: what drowns in noise has
            to show its worth on the shop's own queries.
        least: Queries below which no weights are fitted to them.

    Returns:
        Weights with sum 1. The local signals that those from outside replace may fall. Where the
        gain on the pool is not above the caution it is `weights` itself, all of `names` at 0.
    """
    without = {**weights, **dict.fromkeys(names, 0.0)}
    public = outside_weights(weights, names, surface=surface)
    advised = any(public[name] > 0 for name in names)
    few = len(pool.n_targets) < least
    found = without if few else _search(pool, weights, names)
    trust = reliability * public_trust(pool) if advised else 0.0
    mixed = {name: (1 - trust) * found[name] + trust * public[name] for name in without}
    caution = CAUTION[surface] - _LENIENCE * trust
    before = pool.ndcg(without)
    return mixed if better(pool.ndcg(mixed), before, caution=caution) else without


def outside_weights(weights: Mapping[str, float], names: Sequence[str], *, surface: str) -> Weights:
    """Adds the public mix of signals from outside to local weights; all that without validation.

    Args:
        weights: Of the local signals, with sum 1.
        names: Signals from outside; kinds without a public weight get 0.
        surface: Names the public mix.

    Returns:
        Weights with sum 1.
    """
    mix, kinds = OUTSIDE[surface], {name.split("-")[0] for name in names}
    factor = ALONE if kinds == {"global"} else 1.0
    public = {name: factor * mix.get(name.split("-")[0], 0.0) for name in names}
    return _normal({**weights, **public})


def _search(pool: Pool, weights: Mapping[str, float], names: Sequence[str]) -> Weights:
    """Fits the weights of `names` and the fall of what they replace, by coordinate search."""
    given = dict.fromkeys(names, 0.0)
    found: Weights = {**weights, **given}
    best = float(pool.ndcg(found).mean())
    kept = {keep: mix for keep in KEEP if any((mix := _fallen(weights, keep)).values())}
    local = {keep: fuse(pool.signals, mix) for keep, mix in kept.items()}
    tried: set[tuple[float, ...]] = {(1.0, *given.values())}
    for _ in range(_CYCLES):
        start = found
        for name in names:
            others = [(n, step) for n, step in given.items() if n != name and step > 0]
            for keep, step in product(kept, STEPS):
                if _again(tried, keep, *{**given, name: step}.values()):
                    continue
                scores = local[keep]
                for n, weight in (*others, (name, step)):
                    if weight > 0:
                        scores = scores + np.float32(weight) * pool.signals[n]
                if (value := float(pool.ndcg_of(scores).mean())) > best:
                    best, given = value, {**given, name: step}
                    found = {**kept[keep], **given}
        if found == start:
            break
    return _normal(found)


def _again(tried: set[tuple[float, ...]], *weights: float) -> bool:
    """Says whether weights were tried before, and notes that they were."""
    known = weights in tried
    tried.add(weights)
    return known


def _fallen(weights: Mapping[str, float], keep: float) -> Weights:
    return {n: w * (keep if n in COLLABORATIVE else 1.0) for n, w in weights.items()}


def _normal(weights: Mapping[str, float]) -> Weights:
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
