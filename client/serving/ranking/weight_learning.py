"""Fusion weights, learned on the shop's own latest events with the signals that it serves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from client.fusion import scores as fusion
from client.recommenders.queries import MIN_CART, History, Queries
from client.serving.features.federated_statistics import co_purchase_with_federation
from client.serving.features.interactions import NO_EVENTS, TAKEN_TYPES, Interactions, UserEvents
from client.serving.features.item_item import co_purchase
from client.serving.features.item_popularity import ItemPopularity
from client.serving.ranking.fusion_weights import (
    PROFILE_VARIANTS,
    SERVED_SURFACES,
    FusionWeights,
    fit_fusion_weights,
    public_fusion_weights,
)
from client.serving.ranking.ranker import mean_and_deviation
from client.serving.ranking.signals import SIGNAL_NAMES, SignalSources
from shared.interactions.events import Events

MAX_USERS = 2000
"""Users whose latest events are asked about."""
_CHUNK = 64

Floats = npt.NDArray[np.float32]


def learn_fusion_weights(
    sources: SignalSources, interactions: Interactions, *, rng: np.random.Generator
) -> dict[str, FusionWeights]:
    """Learns the weights of all surfaces from what is known before the latest tenth of the events.

    Args:
        sources: Of the present; all counts of the shop's own are computed anew.
        interactions: All users.
        rng: Chooses the users and splits the carts.
    """
    fusion_weights = public_fusion_weights(sources)
    if not len(interactions.columns):
        return fusion_weights
    # The past ends where validation begins: a weight learned on events that the signals have seen
    # would favour those that memorise.
    cuts = _cuts(interactions, time_unit=sources.time_unit)
    past = _histories_before(interactions, cuts)
    early = _sources_at_cut(sources, past, cuts)
    users = np.flatnonzero(_has_window(interactions, cuts))
    users = np.sort(rng.permutation(users)[:MAX_USERS])
    for surface, public in SERVED_SURFACES.items():
        queries = _validation_queries(surface, interactions, past, users, cuts, rng)
        pools = list(_pools(queries, early, surface))
        learned = fit_fusion_weights(_join(pools), public, early) if pools else None
        if learned is not None:
            fusion_weights[surface] = learned
    return fusion_weights


def _cuts(interactions: Interactions, *, time_unit: str) -> npt.NDArray[np.float64]:
    """Where each user's validation events begin: a date, or the last rank, `(n_users,)`."""
    times = interactions.columns.time
    if time_unit == "days":
        return np.full(len(interactions), float(np.quantile(times, 0.9)))
    last = np.maximum(interactions.starts[1:] - 1, 0)
    return np.where(np.diff(interactions.starts) >= 3, times[last], np.inf)


def _histories_before(interactions: Interactions, cuts: npt.NDArray[np.float64]) -> Interactions:
    columns = interactions.columns
    early = columns.time < cuts[interactions.user_of_event]
    n_before = np.concatenate([[0], np.cumsum(early)])
    return Interactions(n_before[interactions.starts], columns.select(early))


def _sources_at_cut(
    sources: SignalSources, past: Interactions, cuts: npt.NDArray[np.float64]
) -> SignalSources:
    """Counts what was known at the cut; without dates every user's next rank is their moment."""
    n_items = len(sources.space.vectors)
    dated = sources.time_unit == "days"
    now = float(cuts[0]) if dated else 0.0
    popularity = ItemPopularity.of(past, n_items=n_items, now=now, dated=dated)
    neighbours, ease = co_purchase(past, n_items=n_items, now=now, time_unit=sources.time_unit)
    federated_ease = co_purchase_with_federation(
        past, sources.federated, n_items=n_items, now=now, time_unit=sources.time_unit
    )
    return replace(
        sources,
        popularity=popularity,
        neighbours=neighbours,
        ease=ease,
        federated_ease=federated_ease,
    )


def _has_window(interactions: Interactions, cuts: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    columns = interactions.columns
    users = interactions.user_of_event
    late = (columns.time >= cuts[users]) & TAKEN_TYPES[columns.event_type]
    has_window: npt.NDArray[np.bool_] = np.bincount(users[late], minlength=len(interactions)) > 0
    return has_window


@dataclass(frozen=True, eq=False)
class _ValidationQuery:
    """Context, own history, items that are no candidates, and what was taken."""

    context: UserEvents
    own: UserEvents
    excluded: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]


def _validation_queries(
    surface: str,
    interactions: Interactions,
    past: Interactions,
    users: npt.NDArray[np.int64],
    cuts: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> Iterator[_ValidationQuery]:
    for user in users.tolist():
        events, own = interactions.columns, past.of(user)
        window = events.select(slice(interactions.starts[user], interactions.starts[user + 1]))
        window = window.select((window.time >= cuts[user]) & TAKEN_TYPES[window.event_type])
        if surface == "session":
            yield from _cart_query(window, own, rng)
            continue
        known = own.taken if surface == "discover" else NO_EVENTS.item
        targets = np.setdiff1d(window.item, known)
        if len(targets):
            yield _ValidationQuery(own, own, known, targets)


def _cart_query(
    window: UserEvents, own: UserEvents, rng: np.random.Generator
) -> Iterator[_ValidationQuery]:
    """Asks for one random half of the window's first cart that is large enough."""
    for session in np.unique(window.session[window.session >= 0]):
        cart = window.select(window.session == session)
        items = rng.permutation(np.unique(cart.item))
        if len(items) >= MIN_CART:
            in_context = np.isin(cart.item, items[: len(items) // 2])
            yield _ValidationQuery(
                cart.select(in_context),
                own,
                cart.select(in_context).taken,
                items[len(items) // 2 :],
            )
            return


def _pools(
    queries: Iterator[_ValidationQuery], sources: SignalSources, surface: str
) -> Iterator[fusion.Pool]:
    """Scores the questions a chunk at a time and keeps the items that can reach a top 10."""
    chunk: list[_ValidationQuery] = []
    for query in queries:
        chunk.append(query)
        if len(chunk) == _CHUNK:
            yield _pool(chunk, sources, surface)
            chunk = []
    if chunk:
        yield _pool(chunk, sources, surface)


def _pool(chunk: list[_ValidationQuery], sources: SignalSources, surface: str) -> fusion.Pool:
    n = len(sources.space.vectors)
    signals = {name: np.empty((len(chunk), n), dtype=np.float32) for name in SIGNAL_NAMES}
    spread = np.zeros((len(chunk), 1), dtype=np.float32)
    allowed = np.ones((len(chunk), n), dtype=np.bool_)
    targets = np.zeros((len(chunk), n), dtype=np.bool_)
    for row, query in enumerate(chunk):
        scores = sources.signals(sources.context(query.context, query.own))
        # As in `rank`: weights hold only for signals that are standardised in the same way.
        mean, deviation = mean_and_deviation(scores, sources.space.vectors, query.excluded)
        for name, signal, m, d in zip(SIGNAL_NAMES, scores, mean, deviation, strict=True):
            signals[name][row] = (signal.dense(sources.space.vectors) - m) / d
        spread[row] = np.nan_to_num(deviation[SIGNAL_NAMES.index("global")], posinf=0.0)
        allowed[row, query.excluded] = False
        targets[row, query.targets] = True
    signals |= _variants(sources, spread * signals["global"], allowed)
    nobody = Events.build(user=[], item=[], time=[])
    history = History(nobody, np.arange(n, dtype=np.int32), np.zeros(len(chunk)))
    users = np.arange(len(chunk))
    queries = Queries(surface, users, history, history, allowed, targets)
    best = {name: fusion.best_of(scores, queries) for name, scores in signals.items()}
    return fusion.Pool.of(signals, best, queries)


def _variants(
    sources: SignalSources, similarities: Floats, allowed: npt.NDArray[np.bool_]
) -> dict[str, Floats]:
    """Adds the popularity in all shops to the similarities, by variant, standardised."""
    federated = sources.federated
    if federated.prior is None:
        return {}
    return {
        name: fusion.standardise(
            np.float32(federated.scale) * similarities
            + np.float32(strength) * federated.prior.values,
            allowed,
        )
        for name, strength in PROFILE_VARIANTS.items()
        if strength > 0
    }


def _join(pools: list[fusion.Pool]) -> fusion.Pool:
    """Puts pools under each other, unused places at the end of each row."""
    width = max(pool.targets.shape[1] for pool in pools)
    signals = {
        name: np.concatenate([_pad_width(pool.signals[name], width, -np.inf) for pool in pools])
        for name in pools[0].signals
    }
    targets = np.concatenate([_pad_width(pool.targets, width, False) for pool in pools])
    return fusion.Pool(signals, targets, np.concatenate([pool.n_targets for pool in pools]))


def _pad_width(values: npt.NDArray[Any], width: int, fill: float) -> npt.NDArray[Any]:
    return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=fill)
