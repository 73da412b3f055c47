"""Fusion weights, learned on the shop's own latest events with the signals that it serves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from client import fusion
from client.recommenders.history import History
from client.serving.counts import Counts
from client.serving.histories import EMPTY, TAKEN, Histories, UserEvents
from client.serving.mixes import STRENGTHS, SURFACES, Mix, fit, public_mixes
from client.serving.neighbours import Neighbours, ease, nearest, user_rows
from client.serving.outside import Outside, Pairs, pairs_ease
from client.serving.ranking import moments
from client.serving.signals import HALF_LIFE, NAMES, Sources
from client.surfaces import MIN_CART, Queries
from shared.interactions.events import Events

L2 = {"days": 100.0, "order": 20.0}
"""Ridge penalty of EASE, by unit of time."""
MAX_USERS = 2000
"""Users whose latest events are asked about."""
_CHUNK = 64

Floats = npt.NDArray[np.float32]


def learn_mixes(
    sources: Sources, histories: Histories, *, rng: np.random.Generator
) -> dict[str, Mix]:
    """Learns all mixes from what is known before the latest tenth of the events.

    Args:
        sources: Of the present; all counts of the shop's own are made anew.
        histories: All users.
        rng: Chooses the users and splits the carts.
    """
    mixes = public_mixes(sources)
    if not len(histories.columns):
        return mixes
    cuts = _cuts(histories, unit=sources.unit)
    past = _histories_before(histories, cuts)
    early = _sources_of(sources, past, cuts)
    users = np.flatnonzero(_has_window(histories, cuts))
    users = np.sort(rng.permutation(users)[:MAX_USERS])
    for surface, public in SURFACES.items():
        asked = _questions(surface, histories, past, users, cuts, rng)
        pools = list(_pools(asked, early, surface))
        found = fit(_join(pools), public, early) if pools else None
        if found is not None:
            mixes[surface] = found
    return mixes


def _cuts(histories: Histories, *, unit: str) -> npt.NDArray[np.float64]:
    """Where each user's validation events begin: a date, or the last rank, `(n_users,)`."""
    times = histories.columns.time
    if unit == "days":
        return np.full(len(histories), float(np.quantile(times, 0.9)))
    last = np.maximum(histories.starts[1:] - 1, 0)
    return np.where(np.diff(histories.starts) >= 3, times[last], np.inf)


def _histories_before(histories: Histories, cuts: npt.NDArray[np.float64]) -> Histories:
    columns = histories.columns
    early = columns.time < cuts[histories.user_of_event]
    counts = np.concatenate([[0], np.cumsum(early)])
    return Histories(counts[histories.starts], columns.select(early))


def _sources_of(sources: Sources, past: Histories, cuts: npt.NDArray[np.float64]) -> Sources:
    """Counts what was known at the cut; without dates every user's next rank is their moment."""
    n_items = len(sources.space.vectors)
    dated = sources.unit == "days"
    now = float(cuts[0]) if dated else 0.0
    counts = Counts.of(past, n_items=n_items, now=now, dated=dated)
    near, solved = co_purchase(past, n_items=n_items, now=now, unit=sources.unit)
    pairs = co_purchase_of_all(past, sources.outside, n_items=n_items, now=now, unit=sources.unit)
    return replace(sources, counts=counts, near=near, ease=solved, pairs=pairs)


def co_purchase(
    histories: Histories, *, n_items: int, now: float, unit: str
) -> tuple[Neighbours, Neighbours]:
    """Finds nearest neighbours and EASE of all events."""
    rows = _rows(histories, n_items=n_items, now=now, unit=unit)
    return nearest(rows), ease(rows, l2=L2[unit])


def co_purchase_of_all(
    histories: Histories, outside: Outside, *, n_items: int, now: float, unit: str
) -> Pairs:
    """Finds EASE of all events together with the pairs of other shops' users."""
    if outside.gram is None:
        return Pairs()
    rows = _rows(histories, n_items=n_items, now=now, unit=unit)
    return pairs_ease(rows, outside, l2=L2[unit], unit=unit)


def _rows(histories: Histories, *, n_items: int, now: float, unit: str) -> sp.csr_array:
    """Writes all users as rows, each at the shop's moment or at the user's next rank."""
    moment = np.full(len(histories), now)
    if unit == "order" and len(histories.columns):
        last = histories.starts[1:] - 1
        moment = np.where(np.diff(histories.starts) > 0, histories.columns.time[last] + 1.0, 0.0)
    return user_rows(histories, now=moment, half_life=HALF_LIFE[unit], n_items=n_items)


def _has_window(histories: Histories, cuts: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    columns = histories.columns
    users = histories.user_of_event
    late = (columns.time >= cuts[users]) & TAKEN[columns.event_type]
    found: npt.NDArray[np.bool_] = np.bincount(users[late], minlength=len(histories)) > 0
    return found


@dataclass(frozen=True, eq=False)
class _Question:
    """Context, own history, items that are no candidates, and what was taken."""

    context: UserEvents
    own: UserEvents
    excluded: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]


def _questions(
    surface: str,
    histories: Histories,
    past: Histories,
    users: npt.NDArray[np.int64],
    cuts: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> Iterator[_Question]:
    for user in users.tolist():
        events, own = histories.columns, past.of(user)
        window = events.select(slice(histories.starts[user], histories.starts[user + 1]))
        window = window.select((window.time >= cuts[user]) & TAKEN[window.event_type])
        if surface == "session":
            yield from _cart(window, own, rng)
            continue
        known = own.taken if surface == "discover" else EMPTY.item
        targets = np.setdiff1d(window.item, known)
        if len(targets):
            yield _Question(own, own, known, targets)


def _cart(window: UserEvents, own: UserEvents, rng: np.random.Generator) -> Iterator[_Question]:
    """Asks for one random half of the window's first cart that is large enough."""
    for session in np.unique(window.session[window.session >= 0]):
        cart = window.select(window.session == session)
        items = rng.permutation(np.unique(cart.item))
        if len(items) >= MIN_CART:
            given = np.isin(cart.item, items[: len(items) // 2])
            yield _Question(
                cart.select(given), own, cart.select(given).taken, items[len(items) // 2 :]
            )
            return


def _pools(asked: Iterator[_Question], sources: Sources, surface: str) -> Iterator[fusion.Pool]:
    """Scores the questions a chunk at a time and keeps the items that can reach a top 10."""
    chunk: list[_Question] = []
    for question in asked:
        chunk.append(question)
        if len(chunk) == _CHUNK:
            yield _pool(chunk, sources, surface)
            chunk = []
    if chunk:
        yield _pool(chunk, sources, surface)


def _pool(chunk: list[_Question], sources: Sources, surface: str) -> fusion.Pool:
    n = len(sources.space.vectors)
    signals = {name: np.empty((len(chunk), n), dtype=np.float32) for name in NAMES}
    spread = np.zeros((len(chunk), 1), dtype=np.float32)
    allowed = np.ones((len(chunk), n), dtype=np.bool_)
    targets = np.zeros((len(chunk), n), dtype=np.bool_)
    for row, question in enumerate(chunk):
        found = sources.signals(sources.context(question.context, question.own))
        mean, deviation = moments(found, sources.space.vectors, question.excluded)
        for name, signal, m, d in zip(NAMES, found, mean, deviation, strict=True):
            signals[name][row] = (signal.whole(sources.space.vectors) - m) / d
        spread[row] = np.nan_to_num(deviation[NAMES.index("global")], posinf=0.0)
        allowed[row, question.excluded] = False
        targets[row, question.targets] = True
    signals |= _variants(sources, spread * signals["global"], allowed)
    nobody = Events.build(user=[], item=[], time=[])
    history = History(nobody, np.arange(n, dtype=np.int32), np.zeros(len(chunk)))
    users = np.arange(len(chunk))
    queries = Queries(surface, users, history, history, allowed, targets)
    best = {name: fusion.best_of(scores, queries) for name, scores in signals.items()}
    return fusion.Pool.of(signals, best, queries)


def _variants(
    sources: Sources, similarities: Floats, allowed: npt.NDArray[np.bool_]
) -> dict[str, Floats]:
    """Adds the popularity in all shops to the similarities, by variant, standardised."""
    outside = sources.outside
    if outside.prior is None:
        return {}
    return {
        name: fusion.standardise(
            np.float32(outside.scale) * similarities + np.float32(strength) * outside.prior.values,
            allowed,
        )
        for name, strength in STRENGTHS.items()
        if strength > 0
    }


def _join(pools: list[fusion.Pool]) -> fusion.Pool:
    """Puts pools under each other, unused places at the end of each row."""
    width = max(pool.targets.shape[1] for pool in pools)
    signals = {
        name: np.concatenate([_wide(pool.signals[name], width, -np.inf) for pool in pools])
        for name in pools[0].signals
    }
    targets = np.concatenate([_wide(pool.targets, width, False) for pool in pools])
    return fusion.Pool(signals, targets, np.concatenate([pool.n_targets for pool in pools]))


def _wide(values: npt.NDArray[Any], width: int, fill: float) -> npt.NDArray[Any]:
    return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=fill)
