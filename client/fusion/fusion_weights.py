"""Weights of a fusion: public ones for every surface, and what a shop learns from its own users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from client.fusion.scores import Pool, better, fuse
from client.fusion.short_histories import (
    NEW_USER,
    NEW_USER_ERRORS,
    mean_items,
    new_user_weights,
)
from client.recommenders.queries import History

_DENSE = {"ease": 1.0, "text": 0.4, "item-knn": 0.2, "popularity": 0.2}
_SPARSE = {"text-map": 4.0, "ease": 1.0}
_COLD = {"text": 1.0}
PUBLIC_MIXES: dict[str, tuple[dict[str, float], ...]] = {
    "for-you": ({"frequency": 1.0, "ease": 0.25}, _DENSE, _SPARSE),
    "discover": (_DENSE, _SPARSE),
    "tail": ({"ease": 1.0, "text": 0.8, "popularity": 0.2}, _SPARSE),
    "cold": (_COLD, {"text-map": 1.0}),
    "new-user": ({"popularity": 1.0}, _DENSE, _SPARSE),
    "basket": ({"frequency": 1.6, "ease": 0.8, "item-knn": 0.4, "text": 0.2}, _DENSE),
}
"""Public mixes of the local signals by surface, the default first; the best for a shop counts.

`_SPARSE` is for catalogues with a handful of events a user, where text says more than others do.
"""

FEDERATED_MIX: dict[str, dict[str, float]] = {
    "for-you": {},
    "discover": {"pairs": 0.3, "global": 2.0},
    "tail": {"pairs": 0.3, "global": 2.0},
    "cold": {},
    "new-user": {"pairs": 0.3, "global": 2.0},
    "basket": {},
}
"""Public weights of federated signals beside local ones with sum 1, by kind and surface."""
GLOBAL_ALONE = 1.5
"""Factor on the public weight of the global model where no pairs were released beside it."""

WITHOUT_USERS: dict[str, dict[str, float]] = {
    "for-you": {"global": 1.0},
    "discover": {"pairs": 0.3, "global": 1.0},
    "tail": {"pairs": 0.3, "global": 1.0},
    "cold": {},
    "new-user": {"global": 1.0},
    "basket": {"global": 1.0},
}
"""Weights of federated signals where a shop of dated data has no users, by kind and surface.

All that it has of its own is texts, which rank far below popularity where users buy again and
again; likeness of texts is in the profile model too."""

Weights = dict[str, float]


SPARSE_ITEMS = 20.0
"""A shop whose users have fewer items than this on average has sparse histories."""


def is_sparse(history: History) -> bool:
    """Says whether a shop's users have a handful of items each, so that texts say more."""
    return mean_items(history) < SPARSE_ITEMS


def is_cautious(surface: str, *, sparse: bool) -> bool:
    """Says whether popularity is the bar, as for new users where others have long histories."""
    return surface == NEW_USER and not sparse


def mix_weights(mix: Mapping[str, float], names: Sequence[str]) -> Weights:
    """Writes a public mix as weights with sum 1, one for each name."""
    return normalised({name: mix.get(name, 0.0) for name in names})


def ordered_mixes(surface: str, names: Sequence[str], *, sparse: bool) -> list[dict[str, float]]:
    """Lists the public mixes that say something of `names`, the default first."""
    mixes = [mix for mix in PUBLIC_MIXES[surface] if any(name in mix for name in names)]
    return sorted(mixes, key=lambda mix: mix != _SPARSE) if sparse else mixes


def default_weights(surface: str, names: Sequence[str], *, sparse: bool = False) -> Weights:
    """Returns the public mix of a surface, for a shop without validation queries."""
    return mix_weights(ordered_mixes(surface, names, sparse=sparse)[0], names)


def add_public_federated_weights(
    weights: Mapping[str, float],
    names: Sequence[str],
    *,
    surface: str,
    reliability: float = 1.0,
) -> Weights:
    """Adds the public mix of federated signals to local weights, for a shop without queries.

    Args:
        weights: Of the local signals, with sum 1.
        names: Federated signals; kinds without a public weight get 0.
        surface: Names the public mix.
        reliability: Share of the mix that is added, in [0, 1].

    Returns:
        Weights with sum 1.
    """
    mix, kinds = FEDERATED_MIX[surface], {name.split("-")[0] for name in names}
    factor = GLOBAL_ALONE if kinds == {"global"} else 1.0
    public = {name: factor * mix.get(name.split("-")[0], 0.0) for name in names}
    whole = normalised({**weights, **public})
    return {
        name: reliability * weight + (1 - reliability) * weights.get(name, 0.0)
        for name, weight in whole.items()
    }


def weights_without_users(
    weights: Mapping[str, float], names: Sequence[str], *, surface: str
) -> Weights:
    """Returns the weights of a shop of dated data without users: released signals alone.

    Args:
        weights: Of the local signals, for a surface that no released signal knows anything of.
        names: Federated signals.
        surface: Names the public mix.

    Returns:
        Weights with sum 1.
    """
    public = {name: WITHOUT_USERS[surface].get(name.split("-")[0], 0.0) for name in names}
    if not any(public.values()):
        return {**weights, **public}
    return normalised({**dict.fromkeys(weights, 0.0), **public})


def normalised(weights: Mapping[str, float]) -> Weights:
    """Divides weights by their sum."""
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


REQUIRED_STANDARD_ERRORS = {
    "for-you": 2.0,
    "discover": 0.5,
    "tail": 0.5,
    "cold": 1.0,
    "new-user": 0.5,
    "basket": 1.0,
}
"""Standard errors by which a further signal must win on the validation window, by surface.

See `docs/decisions/004-when-a-global-signal-enters.md`. Where a user's own habit decides most
queries, a further signal seldom helps and chance on the validation window misleads; where no local
signal knows the answer, a high bar costs more than it saves.
"""
WEIGHT_STEPS = (0.0, 0.1, 0.25, 0.6, 1.5, 4.0)
"""Weights that are tried, on standardised scores."""
COLLABORATIVE_FACTORS = (1.0, 0.5, 0.2, 0.0)
"""Factors on the weights of `COLLABORATIVE` that are tried when a federated signal enters."""
COLLABORATIVE = ("ease", "item-knn")
"""Local signals that know the same as signals of many shops' behaviour, from fewer users."""
_CYCLES = 2
_PRIOR_QUERIES = 200.0
"""Validation queries that count as much as the public mix; see docs/decisions/006."""
MIN_QUERIES = 30
"""Queries below which no weights of federated signals are fitted: chance would choose them."""
_FEWER_STANDARD_ERRORS = 1.5
"""By how much `REQUIRED_STANDARD_ERRORS` fall for a shop without any validation query; see
`docs/decisions/006-public-weights.md`."""


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
    mixes = [mix_weights(mix, names) for mix in ordered_mixes(surface, names, sparse=sparse)]
    values = [pool.ndcg(mix) for mix in mixes]
    top = int(np.argmax([value.mean() for value in values]))
    trust = public_trust(pool)
    mix = mixes[top] if better(values[top], values[0], standard_errors=2 * trust) else mixes[0]
    share = max(trust, 0.5)
    mean = {name: (1 - share) * fitted[name] + share * mix[name] for name in names}
    if surface == NEW_USER and "popularity" in names:
        few = sparse and len(pool.n_targets) < MIN_QUERIES
        return new_user_weights(pool, (fitted, mean), public=mean if few else None)
    worse = better(pool.ndcg(single), pool.ndcg(mean), standard_errors=2 * trust)
    return fitted if worse else mean


def public_trust(pool: Pool) -> float:
    """Weight of what is publicly known against what the validation queries say, in (0, 1]."""
    return _PRIOR_QUERIES / (_PRIOR_QUERIES + len(pool.n_targets))


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
            for trial in ({**weights, name: step} for step in WEIGHT_STEPS):
                if not any(trial.values()) or _was_tried(tried, *trial.values()):
                    continue
                if (value := float(pool.ndcg(trial).mean())) > best:
                    best, weights = value, trial
        if weights == before:
            break
    return normalised(weights), single


def add_federated_signals(
    pool: Pool,
    weights: Mapping[str, float],
    names: Sequence[str],
    *,
    surface: str,
    reliability: float = 1.0,
    min_queries: int = MIN_QUERIES,
    cautious: bool = False,
    searched: Weights | None = None,
) -> Weights:
    """Adds federated signals to local weights, unless the validation queries speak against it.

    A shop with few validation users follows the public mix `FEDERATED_MIX` unless its users speak
    against it; a shop with many follows what they clearly show. Below `min_queries` no weights are
    fitted: then what enters is the public mix, as far as it may be relied on.

    Args:
        pool: The validation queries of the surface.
        weights: Of the local signals, with sum 1.
        names: Federated signals; the first part of a name, up to a dash, is its kind.
        surface: Names the required gain and the public mix. Without a public mix for any
            of `names` the validation queries alone decide.
        reliability: How far the public mix may be relied on, in [0, 1]: what is mostly noise
            has to show its worth on the shop's own queries. Of a release that cannot be told from
            noise, which has 0, nothing enters: what it seemed to be worth here would be chance.
        min_queries: Queries below which no weights are fitted to them.
        cautious: Whether only a clear gain lets anything in, as `is_cautious` says.
        searched: What `search_weights` returned for the same pool; None searches here.

    Returns:
        Weights with sum 1. The local signals that federated ones replace may fall. Where the
        gain on the pool is below what is required it is `weights` itself, all of `names` at 0.
    """
    without = {**weights, **dict.fromkeys(names, 0.0)}
    if reliability <= 0:
        return without
    public = add_public_federated_weights(weights, names, surface=surface)
    advised = any(public[name] > 0 for name in names)
    if len(pool.n_targets) < min_queries:
        fitted = without
    else:
        fitted = searched or search_weights(pool, weights, names)
    trust = reliability * public_trust(pool) if advised and not cautious else 0.0
    mixed = {name: (1 - trust) * fitted[name] + trust * public[name] for name in without}
    required = REQUIRED_STANDARD_ERRORS[surface] - _FEWER_STANDARD_ERRORS * trust
    required = NEW_USER_ERRORS if cautious else required
    before = pool.ndcg(without)
    return mixed if better(pool.ndcg(mixed), before, standard_errors=required) else without


def search_weights(pool: Pool, weights: Mapping[str, float], names: Sequence[str]) -> Weights:
    """Fits the weights of `names` and the fall of what they replace, by coordinate search.

    Args:
        pool: The validation queries of the surface.
        weights: Of the local signals, with sum 1.
        names: Federated signals.

    Returns:
        Weights with sum 1, at least as good on the pool as `weights`.
    """
    entered = dict.fromkeys(names, 0.0)
    fitted: Weights = {**weights, **entered}
    best = float(pool.ndcg(fitted).mean())
    reduced = {
        factor: mix
        for factor in COLLABORATIVE_FACTORS
        if any((mix := _reduced(weights, factor)).values())
    }
    local = {factor: fuse(pool.signals, mix) for factor, mix in reduced.items()}
    tried: set[tuple[float, ...]] = {(1.0, *entered.values())}
    for _ in range(_CYCLES):
        before = fitted
        for name in names:
            others = [(n, step) for n, step in entered.items() if n != name and step > 0]
            for factor, step in product(reduced, WEIGHT_STEPS):
                if _was_tried(tried, factor, *{**entered, name: step}.values()):
                    continue
                scores = local[factor]
                for n, weight in (*others, (name, step)):
                    if weight > 0:
                        scores = scores + np.float32(weight) * pool.signals[n]
                if (value := float(pool.ndcg_of(scores).mean())) > best:
                    best, entered = value, {**entered, name: step}
                    fitted = {**reduced[factor], **entered}
        if fitted == before:
            break
    return normalised(fitted)


def _was_tried(tried: set[tuple[float, ...]], *weights: float) -> bool:
    """Says whether weights were tried before, and notes that they were."""
    repeated = weights in tried
    tried.add(weights)
    return repeated


def _reduced(weights: Mapping[str, float], factor: float) -> Weights:
    return {n: w * (factor if n in COLLABORATIVE else 1.0) for n, w in weights.items()}
