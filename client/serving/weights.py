"""Fusion weights, learned on the shop's own latest events with the signals that it serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from client import fusion
from client.recommenders.history import History
from client.serving.counts import Counts
from client.serving.histories import EMPTY, TAKEN, Histories, UserEvents
from client.serving.neighbours import Neighbours, ease, nearest, user_rows
from client.serving.ranking import moments
from client.serving.signals import HALF_LIFE, LOCAL, NAMES, Sources
from client.surfaces import MIN_CART, Queries
from shared.interactions.events import Events

SURFACES = {"for-you": "for-you", "discover": "discover", "session": "basket"}
"""Surface of the service -> surface of the evaluation whose public mix it starts from."""
L2 = {"days": 100.0, "order": 20.0}
"""Ridge penalty of EASE, by unit of time."""
MAX_USERS = 2000
"""Users whose latest events are asked about."""
MIN_QUERIES = 20
"""Fewer queries than this say nothing; the public mix is used then."""
_CHUNK = 64

Weights = dict[str, float]


@dataclass(frozen=True)
class Mix:
    """Weights of one surface and what they are worth.

    Attributes:
        local: Weights of the shop's own signals, sum 1.
        fused: The same with the global model.
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


def public_mixes(*, adapter: bool) -> dict[str, Mix]:
    """Returns the mixes of a shop that has learned none yet."""
    mixes = {}
    for surface, public in SURFACES.items():
        local = fusion.default_weights(public, LOCAL)
        fused = {name: weight * 0.85 for name, weight in local.items()} if adapter else dict(local)
        mixes[surface] = Mix(local, fused | {"global": 0.15 if adapter else 0.0})
    return mixes


def learn_mixes(
    sources: Sources, histories: Histories, *, rng: np.random.Generator
) -> dict[str, Mix]:
    """Learns all mixes from what is known before the latest tenth of the events.

    Args:
        sources: Of the present; only vectors and adapter are used, all counts are made anew.
        histories: All users.
        rng: Chooses the users and splits the carts.
    """
    mixes = public_mixes(adapter=sources.space.has_adapter)
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
        found = _fit(pools, public, adapter=sources.space.has_adapter)
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
    return replace(sources, counts=counts, near=near, ease=solved)


def co_purchase(
    histories: Histories, *, n_items: int, now: float, unit: str
) -> tuple[Neighbours, Neighbours]:
    """Finds nearest neighbours and EASE of all events."""
    moment = np.full(len(histories), now)
    if unit == "order" and len(histories.columns):
        last = histories.starts[1:] - 1
        moment = np.where(np.diff(histories.starts) > 0, histories.columns.time[last] + 1.0, 0.0)
    rows = user_rows(histories, now=moment, half_life=HALF_LIFE[unit], n_items=n_items)
    return nearest(rows), ease(rows, l2=L2[unit])


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
    allowed = np.ones((len(chunk), n), dtype=np.bool_)
    targets = np.zeros((len(chunk), n), dtype=np.bool_)
    for row, question in enumerate(chunk):
        found = sources.signals(sources.context(question.context, question.own))
        mean, deviation = moments(found, sources.space.vectors, question.excluded)
        for name, signal, m, d in zip(NAMES, found, mean, deviation, strict=True):
            signals[name][row] = (signal.whole(sources.space.vectors) - m) / d
        allowed[row, question.excluded] = False
        targets[row, question.targets] = True
    nobody = Events.build(user=[], item=[], time=[])
    history = History(nobody, np.arange(n, dtype=np.int32), np.zeros(len(chunk)))
    users = np.arange(len(chunk))
    queries = Queries(surface, users, history, history, allowed, targets)
    best = {name: fusion.best_of(scores, queries) for name, scores in signals.items()}
    return fusion.Pool.of(signals, best, queries)


def _fit(pools: list[fusion.Pool], public: str, *, adapter: bool) -> Mix | None:
    if sum(len(pool.targets) for pool in pools) < MIN_QUERIES:
        return None
    pool = _join(pools)
    singles = NAMES if adapter else LOCAL
    ndcg = {name: float(pool.ndcg({name: 1.0}).mean()) for name in singles}
    local = _no_worse(
        pool, fusion.local_weights(pool, public, LOCAL), max(LOCAL, key=lambda name: ndcg[name])
    )
    fused = local | {"global": 0.0}
    if adapter:
        joined = fusion.join(pool, local, ("global",), surface=public)
        fused = joined if pool.ndcg(joined).mean() >= pool.ndcg(local).mean() else fused
    ndcg |= {"local": float(pool.ndcg(local).mean()), "fused": float(pool.ndcg(fused).mean())}
    return Mix(_plain(local), _plain(fused), len(pool.targets), ndcg)


def _no_worse(pool: fusion.Pool, weights: Weights, single: str) -> Weights:
    """Returns the weights, or the best single signal alone where they rank below it."""
    alone = {name: float(name == single) for name in weights}
    return weights if pool.ndcg(weights).mean() >= pool.ndcg(alone).mean() else alone


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


def _plain(weights: Mapping[str, float]) -> Weights:
    return {name: float(weight) for name, weight in weights.items()}
