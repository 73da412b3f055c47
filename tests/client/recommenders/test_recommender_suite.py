"""What every recommender promises, whatever it learns: one suite, inherited by a class for each.

To add a recommender, inherit from `RecommenderSuite` and build it: all tests then run on it.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from abc import ABC, abstractmethod
from dataclasses import fields, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
import pytest

import client.recommenders
from client.fusion.hyperparameters import local_grids, parameters
from client.fusion.scores import ndcg_of
from client.recommenders.ease import EASE, FederatedEASE
from client.recommenders.frequency import OwnFrequency
from client.recommenders.interface import Recommender, Scores, ServedRecommender
from client.recommenders.item_knn import ItemKNN
from client.recommenders.local import behaviour_recommenders
from client.recommenders.neighbour_model import NeighbourModel
from client.recommenders.popularity import Popularity
from client.recommenders.profile import ProfileRecommender
from client.recommenders.queries import History, Queries, build_queries
from client.recommenders.sequence import Sequence
from client.recommenders.tables.item_vectors import ItemVectors, ProfileSpace
from client.recommenders.tables.pair_gram import PairGram
from client.recommenders.text_map import TextMap
from client.serving.features.interactions import Interactions
from client.serving.ranking.signals import SIGNAL_NAMES, SignalSources
from client.store.schema import EventColumns
from shared.interactions.events import Events
from shared.releases.pair_sums import pair_sums
from tests.client.recommenders.small_shops import N_ITEMS, history_before, item_vectors, shop_events

CUT = 72.0
VECTORS = item_vectors()


events_of_seed = lru_cache(shop_events)


def history(seed: int = 0) -> History:
    return history_before(events_of_seed(seed), CUT)


def window_queries(seed: int = 0, surface: str = "for-you") -> tuple[History, Queries]:
    events = events_of_seed(seed)
    known = history_before(events, CUT)
    window = events.select(events.time >= CUT)
    queries = build_queries(surface, known=known, window=window, seed=seed)
    assert isinstance(queries, Queries)
    return known, queries


def queries_of(context: History, own: History | None = None) -> Queries:
    n, c = context.shape
    targets = np.zeros((n, c), np.bool_)
    return Queries("for-you", np.arange(n), context, own or context, None, targets)


def of_rows(context: History, rows: list[int]) -> History:
    """The histories of some users, in the order named."""
    parts = [context.events.select(context.events.user == row) for row in rows]
    columns = {
        f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Events)
    }
    columns["user"] = np.repeat(np.arange(len(rows), dtype=np.int32), [len(part) for part in parts])
    return History(Events(**columns), context.candidates, context.now[rows])


def without_events(context: History) -> History:
    return replace(context, events=context.events.select(slice(0, 0)))


def content(*histories: History) -> list[bytes]:
    """All arrays of the histories, to see later whether they were written to."""
    columns = [getattr(h.events, f.name).tobytes() for h in histories for f in fields(Events)]
    return [*columns, *(a.tobytes() for h in histories for a in (h.candidates, h.now, h.known))]


class RecommenderSuite(ABC):
    """The contract. A class attribute says where an algorithm differs, and why."""

    beats_chance: ClassVar[bool] = True
    """Whether a shop's own events are enough to learn the taste groups of small shops."""
    counts_other_items: ClassVar[bool] = False
    """Whether items that may not be recommended count in a context: their vectors do."""
    reads_own_history: ClassVar[bool] = False
    """Whether the user's own history counts where a cart is the context."""
    draws_by_user: ClassVar[bool] = False
    """Whether users draw examples one after the other, so that their order changes the draws."""
    reads_the_order_of_equal_times: ClassVar[bool] = False
    """Whether events of one moment count in the order in which they came."""
    tolerance: ClassVar[float] = 1e-4
    """Of scores that are summed in another order, relative to the largest."""

    @abstractmethod
    def build(self) -> Recommender: ...

    def scores(self, known: History, queries: Queries) -> Scores:
        """Of a fresh recommender: finite float32 numbers, one a query and candidate."""
        scores = self.build().fit(known).score(queries)
        assert isinstance(scores, np.ndarray)
        assert scores.shape == queries.history.shape
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()
        return scores

    def assert_close(self, scores: Scores, expected: Scores) -> None:
        size = max(float(np.abs(expected).max(initial=0.0)), 1e-3)
        np.testing.assert_allclose(scores, expected, rtol=0, atol=self.tolerance * size)

    @pytest.mark.parametrize("surface", ["for-you", "basket", "new-user"])
    def test_scores_are_finite_float32_for_each_query_and_candidate(self, surface: str) -> None:
        self.scores(*window_queries(3, surface))

    @pytest.mark.parametrize("surface", ["for-you", "basket"])
    def test_it_beats_chance(self, surface: str) -> None:
        known, queries = window_queries(3, surface)
        scores = self.scores(known, queries)
        chance = np.random.default_rng(0).random(scores.shape, dtype=np.float32)
        gain = ndcg_of(scores, queries).mean() - ndcg_of(chance, queries).mean()
        assert gain > 0.05 or not self.beats_chance

    def test_the_same_input_gives_the_same_scores(self) -> None:
        known, queries = window_queries(3)
        assert np.array_equal(self.scores(known, queries), self.scores(known, queries))

    def test_fit_returns_itself_and_forgets_what_it_was_fitted_on_before(self) -> None:
        known, queries = window_queries(1)
        model = self.build()
        assert model.fit(history(5)) is model
        assert np.array_equal(model.fit(known).score(queries), self.scores(known, queries))

    def test_it_writes_to_nothing_that_it_was_passed(self) -> None:
        known, queries = window_queries(2, "basket")
        before = content(known, queries.history, queries.own)
        self.scores(known, queries)
        assert content(known, queries.history, queries.own) == before

    def test_scores_belong_to_the_caller(self) -> None:
        known, queries = window_queries(2)
        model = self.build().fit(known)
        first = model.score(queries)
        expected = first.copy()
        first[:] = -7.0
        assert np.array_equal(model.score(queries), expected)

    def test_a_query_scores_the_same_whoever_is_asked_for_beside_it(self) -> None:
        known = history()
        whole = self.scores(known, queries_of(known))
        for rows in ([3], [7, 2, 30], list(range(39, -1, -1))):
            self.assert_close(self.scores(known, queries_of(of_rows(known, rows))), whole[rows])

    def test_a_cart_is_scored_by_its_items_alone_but_for_own_frequency(self) -> None:
        known, queries = window_queries(3, "basket")
        scores = self.scores(known, queries)
        without = self.scores(known, replace(queries, own=without_events(queries.own)))
        assert np.array_equal(scores, without) != self.reads_own_history

    def test_the_codes_of_users_mean_nothing(self) -> None:
        known = history()
        order = np.random.default_rng(1).permutation(40).tolist()
        permuted = of_rows(known, order)
        expected = self.scores(known, queries_of(known))
        scores = self.scores(permuted, queries_of(known))
        if self.draws_by_user:
            assert np.corrcoef(scores.ravel(), expected.ravel())[0, 1] > 0.9
        else:
            self.assert_close(scores, expected)

    def test_the_order_of_rows_in_the_data_means_nothing(self) -> None:
        known = history()
        # Within a user: `Events` promises users in order.
        order = np.lexsort((np.random.default_rng(1).random(len(known.events)), known.events.user))
        shuffled = replace(known, events=known.events.select(order))
        scores = self.scores(shuffled, queries_of(shuffled))
        expected = self.scores(known, queries_of(known))
        if self.draws_by_user or self.reads_the_order_of_equal_times:
            assert np.corrcoef(scores.ravel(), expected.ravel())[0, 1] > 0.9
        else:
            self.assert_close(scores, expected)

    def test_a_user_without_history_has_scores_and_changes_no_other(self) -> None:
        known = history()
        whole = self.scores(known, queries_of(known))
        some = known.events.select(known.events.user != 5)
        scores = self.scores(known, queries_of(replace(known, events=some)))
        rest = np.arange(40) != 5
        self.assert_close(scores[rest], whole[rest])

    def test_a_user_who_was_not_there_when_it_was_fitted_has_the_scores_of_its_history(
        self,
    ) -> None:
        known = history()
        stranger = of_rows(history(9), [4])
        stranger = replace(stranger, candidates=known.candidates)
        asked = queries_of(stranger)
        scores = self.scores(known, asked)
        assert np.array_equal(self.scores(known, replace(asked, users=np.array([10**6]))), scores)

    def test_items_that_are_no_candidates_do_no_harm(self) -> None:
        whole = history()
        candidates = whole.candidates[5:-5:2]
        known = replace(whole, candidates=candidates)
        scores = self.scores(known, queries_of(known))
        inside = whole.events.select(np.isin(whole.events.item, candidates))
        narrow = replace(known, events=inside)
        if not self.counts_other_items:
            self.assert_close(scores, self.scores(narrow, queries_of(narrow)))

    def test_a_context_of_nothing_but_unknown_items_is_scored(self) -> None:
        known = replace(history(), candidates=np.arange(10, 50, dtype=np.int32))
        unknown = Events.build(user=[0, 0, 1], item=[0, 59, 55], time=[1, 2, 3])
        context = History(unknown, known.candidates, np.full(3, CUT))
        scores = self.scores(known, queries_of(context))
        if not self.counts_other_items:
            nobody = self.scores(known, queries_of(without_events(context)))
            self.assert_close(scores, nobody)

    def test_events_after_the_moment_are_scored(self) -> None:
        known = history()
        early = replace(known, now=np.zeros(40))
        self.scores(early, queries_of(early))

    @pytest.mark.parametrize("n_users", [1, 2])
    @pytest.mark.parametrize("n_items", [1, 2])
    def test_the_smallest_shops(self, n_users: int, n_items: int) -> None:
        user = np.repeat(np.arange(n_users), n_items)
        item = np.tile(np.arange(n_items), n_users)
        events = Events.build(user=user, item=item, time=item)
        known = History(events, np.arange(n_items, dtype=np.int32), np.full(n_users, 2.0))
        self.scores(known, queries_of(known))

    def test_a_shop_without_events_and_a_call_without_queries(self) -> None:
        known = history()
        self.scores(without_events(known), queries_of(known))
        self.scores(without_events(known), queries_of(without_events(known)))
        assert self.scores(known, queries_of(of_rows(known, [0, 1]))).shape[0] == 2
        nobody = History(known.events.select(slice(0, 0)), known.candidates, known.now[:0])
        assert self.scores(known, queries_of(nobody)).shape == (0, len(known.candidates))

    def test_an_item_that_nobody_took_is_scored(self) -> None:
        known = history()
        rare = known.candidates[7]
        some = replace(known, events=known.events.select(known.events.item != rare))
        self.scores(some, queries_of(some))

    def test_its_hyper_parameters_are_plain_values(self) -> None:
        json.dumps(parameters(self.build().fit(history())), allow_nan=False)


class TestPopularity(RecommenderSuite):
    def build(self) -> Recommender:
        return Popularity()


class TestOwnFrequency(RecommenderSuite):
    reads_own_history = True

    def build(self) -> Recommender:
        return OwnFrequency(120.0)


class TestItemKNN(RecommenderSuite):
    def build(self) -> Recommender:
        return ItemKNN(shrink=20.0, form="visits", half_life=120.0)


class TestEASE(RecommenderSuite):
    def build(self) -> Recommender:
        return EASE(l2=20.0, form="strongest", half_life=120.0)


class TestEASEOfVisits(RecommenderSuite):
    def build(self) -> Recommender:
        return EASE(l2=20.0, form="visits", half_life=120.0)


class TestSequence(RecommenderSuite):
    reads_the_order_of_equal_times = True

    def build(self) -> Recommender:
        return Sequence(half_life=7.0)


class TestZeroShotText(RecommenderSuite):
    counts_other_items = True

    def build(self) -> Recommender:
        return ProfileRecommender(VECTORS, half_life=120.0)


class TestProjectedProfile(RecommenderSuite):
    counts_other_items = True

    def build(self) -> Recommender:
        prior = np.ones(N_ITEMS, np.float32)
        return ProfileRecommender(VECTORS, lambda h: 2 * h, prior, half_life=120.0)


class TestTextMap(RecommenderSuite):
    counts_other_items = True
    draws_by_user = True

    def build(self) -> Recommender:
        return TextMap(VECTORS, half_life=120.0)


class TestFederatedEASE(RecommenderSuite):
    def build(self) -> Recommender:
        head = np.arange(0, N_ITEMS, 2, dtype=np.int32)
        gram = PairGram.of(head, pair_sums(events_of_seed(7), head))
        return FederatedEASE(gram, weight=1.0, l2=20.0, form="visits", half_life=120.0)


class Streamed:
    """A signal of the service behind the interface: it keeps events, and scores one at a time."""

    def __init__(self, signal: str, time_unit: str = "days") -> None:
        self.signal = signal
        self.time_unit = time_unit

    def fit(self, known: History) -> Streamed:
        stored = streamed(known)
        history = stored.history(len(known.candidates))
        vectors = ItemVectors.of(VECTORS[known.candidates])
        projection = np.random.default_rng(0).normal(size=(8, 9)).astype(np.float32)
        local = behaviour_recommenders(self.time_unit)
        text_map = None
        if self.signal == "text-map":
            text_map = TextMap.of_unit(vectors[:], self.time_unit).fit(history).map
        self._sources = SignalSources(
            {name: recommender.fit(history) for name, recommender in local.items()},
            space=ProfileSpace(
                vectors, projection, half_life=120.0, text_half_life=60.0, text_map=text_map
            ),
            time_unit=self.time_unit,
        )
        return self

    def score(self, queries: Queries) -> Scores:
        contexts, own = streamed(queries.history), streamed(queries.own)
        scores = np.zeros(queries.history.shape, np.float32)
        for row in range(len(scores)):
            known = self._sources.context(contexts.of(row), own.of(row))
            signal = self._sources.signals(known)[SIGNAL_NAMES.index(self.signal)]
            scores[row] = signal.dense(self._sources.space.vectors)
        return scores


def streamed(known: History) -> Interactions:
    """The events on candidates, which are the rows of the service's item table."""
    events = known.events.select(np.isin(known.events.item, known.candidates))
    rows = EventColumns(
        key=np.arange(len(events)),
        user=events.user.astype(np.int64),
        item=events.item.astype(np.int64),
        time=events.time,
        event_type=events.event_type,
        amount=np.ones(len(events), np.float32),
        price=events.price,
        session=events.session.astype(np.int64),
    )
    item = np.searchsorted(known.candidates, events.item).astype(np.int32)
    return Interactions.build(events.user, item, rows, n_users=len(known.now))


class TestServedPopularity(RecommenderSuite):
    def build(self) -> Recommender:
        return Streamed("popularity")


class TestServedSequence(RecommenderSuite):
    reads_the_order_of_equal_times = True

    def build(self) -> Recommender:
        return Streamed("sequence", "order")


class TestServedFrequency(RecommenderSuite):
    reads_own_history = True

    def build(self) -> Recommender:
        return Streamed("frequency")


class TestServedItemKNN(RecommenderSuite):
    def build(self) -> Recommender:
        return Streamed("item-knn")


class TestServedEASE(RecommenderSuite):
    def build(self) -> Recommender:
        return Streamed("ease")


class TestServedText(RecommenderSuite):
    def build(self) -> Recommender:
        return Streamed("text")


class TestServedTextMap(RecommenderSuite):
    draws_by_user = True

    def build(self) -> Recommender:
        return Streamed("text-map")


class TestServedAdapter(RecommenderSuite):
    beats_chance = False  # its projection is drawn, not trained

    def build(self) -> Recommender:
        return Streamed("global")


def test_every_recommender_has_a_class_here() -> None:
    built = [suite().build() for suite in RecommenderSuite.__subclasses__()]
    modules = [
        importlib.import_module(f"client.recommenders.{module.name}")
        for module in pkgutil.iter_modules(client.recommenders.__path__)
    ]
    recommenders = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and value not in (Recommender, ServedRecommender, NeighbourModel)
        if {"fit", "score"} <= set(dir(value))
    }
    grids = local_grids(VECTORS, "days").values()
    recommenders |= {type(variant) for variants in grids for variant in variants}
    assert recommenders <= {type(model) for model in built}
    served = {model.signal for model in built if isinstance(model, Streamed)}
    # The pairs and the prior of a release are tested where a release is: they need one.
    assert served == set(SIGNAL_NAMES) - {"pairs", "prior"}
