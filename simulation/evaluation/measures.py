"""The moments at which a shop is asked, and what is measured of a method's rankings then."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from client.fusion.fusion_weights import Weights
from client.fusion.hyperparameters import score_surface
from client.fusion.pools import by_users
from client.fusion.scores import fuse, masked, standardise
from client.fusion.short_histories import BY_HISTORY, NEW_USER, fuse_by_history
from client.recommenders.interface import Recommender, Scores
from client.recommenders.queries import (
    COLD_EVENTS,
    SHARED_CONTEXT,
    SURFACES,
    Bools,
    Floats,
    History,
    Queries,
    build_queries,
    candidates_of,
)
from client.recommenders.visits import TAKEN_TYPES
from shared.interactions.events import Events, Shop
from shared.interactions.splits import Windows, split_shop
from shared.metrics.ranking import diversity, hit_rate, hits, ndcg, novelty, recall, top_k

BLOCK_CELLS = 2_000_000
"""Scores of one signal that are in memory at once."""


@dataclass(frozen=True, eq=False)
class Stage:
    """What a shop knows at a moment, and what its users do next.

    Attributes:
        history: All users of the shop, all events before the window.
        window: The events in the window.
        stream: Numbers that seed what is random in the questions.
        cold: Candidates with hardly an event in any shop, `(c,)`; None where nobody counted.
        few: What the shop learns from where that is less than `history`: a shop that has just
            opened is asked by users whom it knew nothing of before.
    """

    history: History
    window: Events
    stream: tuple[int, ...]
    cold: Bools | None = None
    few: History | None = None

    @property
    def learned(self) -> History:
        """What recommenders may learn from."""
        return self.history if self.few is None else self.few

    @property
    def cart_seed(self) -> int:
        """Splits the carts of this moment."""
        return int(np.random.default_rng(self.stream).integers(2**62))

    def blocks(self) -> Iterator[dict[str, Queries]]:
        """Builds the queries by surface, some users at a time: all at once would not fit."""
        for window in self._windows():
            built = {surface: self._queries(surface, window) for surface in SURFACES}
            yield {s: queries for s, queries in built.items() if isinstance(queries, Queries)}

    def absent(self, surfaces: Collection[str]) -> dict[str, str]:
        """Says why surfaces are missing, of which no block has a query."""
        missing = [surface for surface in SURFACES if surface not in surfaces]
        windows = list(self._windows()) if missing else []
        # Of a window without a large cart some blocks may have no carts at all: the first by name.
        return {
            s: min(str(self._queries(s, window)) for window in windows or [self.window])
            for s in missing
        }

    def _windows(self) -> Iterator[Events]:
        return by_users(self.window, max(16, BLOCK_CELLS // max(self.history.shape[1], 1)))

    def _queries(self, surface: str, window: Events) -> Queries | str:
        return build_queries(
            surface, known=self.history, window=window, seed=self.cart_seed, cold=self.cold
        )


def stages(
    shop: Shop,
    windows: Windows,
    scored: npt.NDArray[np.bool_],
    *,
    seed: int,
    taken_types: npt.NDArray[np.bool_] = TAKEN_TYPES,
) -> tuple[Stage, Stage]:
    """Builds a shop's validation and test stage.

    Candidates are the shop's own catalogue up to the cut where the split is by time, and the whole
    catalogue with leave-last-out, as is usual there: any user's last item can then be found.

    Args:
        shop: The shop.
        windows: Where the windows begin.
        scored: Catalogue items that may be candidates, `(n_items,)`.
        seed: Splits the carts; each shop and stage has its own stream.
        taken_types: Types that say that a user has an item, mask over `EVENT_TYPES`.

    Returns:
        Validation (known: fit) and test (known: fit and validation).
    """
    split = split_shop(shop, windows)
    stream = int.from_bytes(hashlib.sha256(shop.shop_id.encode()).digest()[:8], "big")
    parts = (
        (split.fit, split.validation, windows.validation_start),
        (split.known, split.test, windows.test_start),
    )
    built = []
    for i, (known, window, start) in enumerate(parts):
        now = _query_times(shop, known, window) if start is None else np.full(shop.n_users, start)
        own = windows.kind == "time"
        candidates = candidates_of(known, scored) if own else np.flatnonzero(scored)
        history = History(known, candidates.astype(np.int32), now, taken_types)
        built.append(Stage(history, window, (seed, i, stream)))
    return built[0], built[1]


def with_cold_items(moments: Sequence[Stage], n_items: int) -> list[Stage]:
    """Tells all shops' stages before the same window which items are cold in all of them.

    Args:
        moments: One of each shop.
        n_items: Items of the catalogue.
    """
    events = sum(np.bincount(m.history.events.item, minlength=n_items) for m in moments)
    cold = np.asarray(events) < COLD_EVENTS
    return [replace(moment, cold=cold[moment.history.candidates]) for moment in moments]


def _query_times(shop: Shop, known: Events, window: Events) -> npt.NDArray[np.float64]:
    """Returns each user's own moment: the event that was left out, else the last known one."""
    now = np.zeros(shop.n_users)
    now[known.user] = known.time
    now[window.user] = window.time
    return now


DEPTH = 20
"""Places of a ranking that are kept."""
METRICS = ("ndcg@10", "hr@10", "recall@20", "diversity@10", "novelty@10")
"""Metrics with one value a user, in the order of `Ranking.values`."""
COVERAGE = "coverage@20"
"""The metric of all users together."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """One method's answers to the queries of one surface.

    Attributes:
        users: User code of each query, `(q,)`.
        items: Catalogue codes, best first, -1 where there was no further candidate, `(q, <= 20)`.
        scores: Their scores, minus infinity where there is no item, `(q, <= 20)`.
        values: One column for each of `METRICS`, `(q, 5)`.
        n_candidates: Candidates of the surface that at least one user may be shown.
    """

    users: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]
    scores: Scores
    values: npt.NDArray[np.float64]
    n_candidates: int


@dataclass(frozen=True, eq=False)
class ItemFacts:
    """What diversity and novelty need to know of the candidates.

    Attributes:
        vectors: Text vectors, `(c, d)`.
        share: Share of the shop's users who had each before, `(c,)`; an item that nobody had counts
            as if one had.
    """

    vectors: Floats
    share: npt.NDArray[np.float64]

    @staticmethod
    def of(history: History, item_vectors: Floats) -> ItemFacts:
        """Looks the facts up for the candidates of a history."""
        share = np.maximum(history.users_per_item, 1) / max(len(history.now), 1)
        return ItemFacts(item_vectors[history.candidates], share)


def measure(scores: Scores, queries: Queries, facts: ItemFacts) -> Ranking:
    """Ranks all candidates and measures each query's ranking."""
    open_scores = masked(scores, queries)
    ranked = top_k(open_scores, DEPTH)
    relevant, n_targets = hits(ranked, queries.targets), queries.targets.sum(axis=1)
    values = (
        ndcg(relevant, n_targets, 10),
        hit_rate(relevant, 10),
        recall(relevant, n_targets, 20),
        diversity(ranked[:, :10], facts.vectors),
        novelty(ranked[:, :10], facts.share),
    )
    places = np.maximum(ranked, 0)
    allowed = queries.allowed
    return Ranking(
        users=queries.users,
        items=np.where(ranked < 0, -1, queries.history.candidates[places]),
        scores=np.take_along_axis(open_scores, places, axis=1),
        values=np.stack(values, axis=1),
        n_candidates=scores.shape[1] if allowed is None else int(allowed.any(axis=0).sum()),
    )


def fit_chosen(
    history: History, chosen: Mapping[str, Mapping[str, Recommender]]
) -> dict[str, dict[str, Recommender]]:
    """Fits every chosen recommender once.

    Args:
        history: What the shop knows before the test window.
        chosen: surface -> signal -> recommender, of which equal ones are fitted once.
    """
    fitted: dict[int, Recommender] = {}
    for recommenders in chosen.values():
        for recommender in recommenders.values():
            if id(recommender) not in fitted:
                fitted[id(recommender)] = recommender.fit(history)
    return {s: {name: fitted[id(r)] for name, r in of.items()} for s, of in chosen.items()}


def measure_surfaces(
    blocks: Iterable[Mapping[str, Queries]],
    fitted: Mapping[str, Mapping[str, Recommender]],
    weights: Mapping[str, Mapping[str, Weights]],
    facts: ItemFacts,
    *,
    usual: float,
) -> dict[str, dict[str, Ranking]]:
    """Scores some users and one surface at a time, fuses and measures.

    Args:
        blocks: The test queries by surface, those that share the context of `for-you` after it.
        fitted: surface -> signal -> recommender.
        weights: surface -> method -> signal -> weight.
        facts: What diversity and novelty need to know of the candidates.
        usual: Distinct items of the shop's users on average, when weights were chosen.

    Returns:
        surface -> method -> ranking.
    """
    parts: dict[str, dict[str, list[Ranking]]] = {}
    shown: dict[str, Bools] = {}
    for queries in blocks:
        shared: dict[int, Scores] = {}
        for surface, asked in queries.items():
            if surface not in SHARED_CONTEXT:
                shared.clear()
            signals = {
                name: standardise(score_surface(r, queries, surface, shared), asked.allowed)
                for name, r in fitted[surface].items()
            }
            scores = _fused(signals, weights, surface, asked, usual=usual)
            for method, ranking in _measured(scores, asked, facts).items():
                parts.setdefault(surface, {}).setdefault(method, []).append(ranking)
            open_here: Bools = np.ones(asked.targets.shape[1], np.bool_)
            if asked.allowed is not None:
                open_here = np.asarray(asked.allowed.any(axis=0))
            shown[surface] = shown[surface] | open_here if surface in shown else open_here
    return {
        surface: {
            method: _together(rankings, int(shown[surface].sum()))
            for method, rankings in methods.items()
        }
        for surface, methods in parts.items()
    }


Mixes = tuple[frozenset[tuple[str, float]], ...]


def _fused(
    signals: Mapping[str, Scores],
    weights: Mapping[str, Mapping[str, Weights]],
    surface: str,
    asked: Queries,
    *,
    usual: float,
) -> Iterator[tuple[str, Mixes, Callable[[], Scores]]]:
    """Yields each method, what it mixes, and how its scores come about."""
    n_items = np.diff(asked.history.sparse_rows("binary").indptr)
    for method, mix in weights[surface].items():
        new = weights.get(NEW_USER, {}).get(method, mix) if surface != "basket" else mix
        mixes = tuple(frozenset((n, w) for n, w in m.items() if w > 0) for m in (mix, new))
        if len(mix) == 1 or surface == "basket":
            yield method, mixes, partial(fuse, signals, mix)
        else:
            smooth = surface in BY_HISTORY
            by_history = partial(fuse_by_history, n_items=n_items, usual=usual, smooth=smooth)
            yield method, mixes, partial(by_history, signals, mix, new)


def _measured(
    fused: Iterable[tuple[str, Mixes, Callable[[], Scores]]], asked: Queries, facts: ItemFacts
) -> dict[str, Ranking]:
    """Measures every method; where nothing from outside enters, methods are the same mix."""
    measured: dict[Mixes, Ranking] = {}
    rankings = {}
    for method, mixes, scores in fused:
        if mixes not in measured:
            measured[mixes] = measure(scores(), asked, facts)
        rankings[method] = measured[mixes]
    return rankings


def _together(rankings: Sequence[Ranking], n_candidates: int) -> Ranking:
    """Puts some users' rankings under each other."""
    return Ranking(
        users=np.concatenate([ranking.users for ranking in rankings]),
        items=np.concatenate([ranking.items for ranking in rankings]),
        scores=np.concatenate([ranking.scores for ranking in rankings]),
        values=np.concatenate([ranking.values for ranking in rankings]),
        n_candidates=n_candidates,
    )
