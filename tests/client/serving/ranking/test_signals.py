"""What the service answers is what the evaluation measures, and how signals become a ranking."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from client.recommenders.local import behaviour_recommenders, local_recommenders
from client.recommenders.popularity import Popularity
from client.recommenders.profile import ProfileRecommender
from client.recommenders.queries import History, Queries
from client.recommenders.tables.co_purchase import CoPurchaseVectors
from client.recommenders.tables.item_scores import DenseScores, DirectionScores, SparseScores
from client.recommenders.tables.item_vectors import ItemVectors, QuantizedVectors
from client.recommenders.tables.pair_gram import PairGram
from client.recommenders.text_map import TextMap
from client.recommenders.visits import TYPE_WEIGHT
from client.serving.features.federated_statistics import FederatedStatistics
from client.serving.features.interactions import NO_EVENTS, Interactions, UserEvents
from client.serving.features.text_vectors import FrozenBase, plain_space
from client.serving.ranking.ranker import mean_and_deviation, rank, top_k
from client.serving.ranking.signals import SIGNAL_NAMES, SignalSources
from client.store.schema import EventColumns
from shared.interactions.events import EVENT_TYPES, Events
from shared.model.profile_space import fit_whitening, project_profiles
from shared.releases.pair_sums import pair_sums
from shared.settings.run_settings import ModelSettings
from tests.client.recommenders.small_shops import N_ITEMS, item_vectors, shop_events

N_USERS = 40


@pytest.fixture(scope="module")
def events():
    return shop_events(seed=3, n_users=N_USERS)


def in_order(events: Events) -> Events:
    """The same purchases without a clock: each event's time is its rank among its user's."""
    ranked = events.select(np.lexsort((events.time, events.user)))
    first = np.searchsorted(ranked.user, np.arange(N_USERS))
    rank = np.arange(len(ranked)) - first[ranked.user]
    return replace(ranked, time=rank.astype(float), session=np.full(len(ranked), -1))


def columns_of(events) -> EventColumns:
    return EventColumns(
        key=np.arange(len(events)),
        user=events.user.astype(np.int64),
        item=events.item.astype(np.int64),
        time=events.time,
        event_type=events.event_type,
        amount=np.ones(len(events), np.float32),
        price=events.price,
        session=events.session,
    )


@pytest.fixture(scope="module")
def sources(events) -> tuple[SignalSources, Interactions]:
    return sources_in_days(events)


def sources_of(events: Events, unit: str) -> tuple[SignalSources, Interactions]:
    rows = columns_of(events)
    interactions = Interactions.build(events.user, events.item, rows, n_users=N_USERS)
    history = interactions.history(N_ITEMS)
    local = {name: r.fit(history) for name, r in behaviour_recommenders(unit).items()}
    base = FrozenBase(ModelSettings(), fit_whitening(item_vectors(), dim=8), "base")
    space = plain_space(base, ItemVectors.of(item_vectors()), time_unit=unit)
    text_map = TextMap.of_unit(item_vectors(), unit).fit(history).map
    return SignalSources(local, replace(space, text_map=text_map), unit), interactions


def sources_in_days(events: Events) -> tuple[SignalSources, Interactions]:
    return sources_of(events, "days")


def sources_in_order(events: Events) -> tuple[SignalSources, Interactions]:
    return sources_of(events, "order")


def mixed(events: Events) -> Events:
    """The same events, of all types."""
    kinds = np.random.default_rng(4).integers(0, len(EVENT_TYPES), len(events))
    return replace(events, event_type=kinds.astype(np.uint8))


def standard(scores: np.ndarray) -> np.ndarray:
    return (scores - scores.mean()) / max(float(scores.std()), 1e-12)


@pytest.mark.parametrize("unit", ["days", "order"])
@pytest.mark.parametrize("kinds", ["purchases", "mixed"])
@pytest.mark.parametrize("many", [True, False])
def test_each_signal_is_served_as_it_is_measured(
    events: Events, unit: str, kinds: str, many: bool
) -> None:
    events = events if unit == "days" else in_order(events)
    events = mixed(events) if kinds == "mixed" else events
    if not many:  # users of none to three events
        rank = np.arange(len(events)) - np.searchsorted(events.user, events.user)
        events = events.select(rank < events.user % 4)
    sources, interactions = sources_of(events, unit)
    known = History(events, np.arange(N_ITEMS, dtype=np.int32), np.zeros(N_USERS))
    nothing = np.zeros((N_USERS, N_ITEMS), np.bool_)
    queries = Queries("for-you", np.arange(N_USERS), known, known, None, nothing)
    measured = local_recommenders(item_vectors(), unit)
    assert tuple(measured) == sources.local_signals
    for name, recommender in measured.items():
        expected = recommender.fit(known).score(queries)
        for user in range(N_USERS):
            own = interactions.of(user)
            signals = sources.signals(sources.context(own, own))
            found = signals[SIGNAL_NAMES.index(name)].dense(sources.space.vectors)
            np.testing.assert_allclose(
                standard(found), standard(expected[user]), atol=2e-3, err_msg=name
            )


@pytest.mark.parametrize("unit", ["days", "order"])
def test_the_profile_model_is_served_as_it_is_measured(events: Events, unit: str) -> None:
    events = mixed(events if unit == "days" else in_order(events))
    sources, interactions = sources_of(events, unit)
    head = np.arange(0, N_ITEMS, 2, dtype=np.int32)
    gram = PairGram.of(head, pair_sums(events, head))
    vectors = CoPurchaseVectors.of(gram)
    matrix = np.random.default_rng(5).normal(size=(8, 9)).astype(np.float32)
    sources = replace(
        sources,
        space=replace(sources.space, projection=matrix, half_life=7.0),
        federated=FederatedStatistics(gram=gram, co_purchase=vectors, scale=3.0),
    )
    known = History(events, np.arange(N_ITEMS, dtype=np.int32), np.zeros(N_USERS))
    nothing = np.zeros((N_USERS, N_ITEMS), np.bool_)
    queries = Queries("for-you", np.arange(N_USERS), known, known, None, nothing)
    measured = ProfileRecommender(
        sources.space.vectors[:],
        lambda profiles: 3.0 * project_profiles(matrix, profiles),
        co_purchase=vectors,
        half_life=7.0,
    ).score(queries)
    for user in range(N_USERS):
        own = interactions.of(user)
        context = sources.context(own, own)
        signal = sources.signals(context)[SIGNAL_NAMES.index("global")]
        dense = signal.dense(sources.space.vectors)
        np.testing.assert_allclose(dense, measured[user], atol=2e-3)
        total, squares = signal.sums(sources.space.vectors)
        assert (total, squares) == pytest.approx((dense.sum(), (dense**2).sum()), rel=1e-3)
        np.testing.assert_allclose(signal.at(head, sources.space.vectors), dense[head], atol=1e-4)
        weights = np.zeros(len(SIGNAL_NAMES), np.float32)
        weights[SIGNAL_NAMES.index("global")] = 1.0
        ranking = rank(
            sources.weighted_signals(context, weights),
            weights,
            vectors=sources.space.vectors,
            excluded=NO_EVENTS.item,
            allowed=np.ones(N_ITEMS, np.bool_),
            k=10,
        )
        np.testing.assert_allclose(
            np.sort(dense)[::-1][:10], dense[ranking.items], atol=1e-4, err_msg="order"
        )


def test_sources_are_named_by_what_weights_depend_on(sources) -> None:
    source, _ = sources
    first, second = (
        replace(source, federated=FederatedStatistics(digest=digest)).model for digest in "ab"
    )
    assert len({source.model, first, second}) == 3


def test_counts_after_single_events_are_those_of_all_events(events) -> None:
    rng = np.random.default_rng(2)
    kinds = rng.integers(0, 4, len(events)).astype(np.uint8)
    twice = np.sort(np.r_[np.arange(len(events)), rng.integers(0, len(events), 500)])
    events = replace(events, event_type=kinds).select(twice)
    events = replace(events, event_type=rng.permutation(events.event_type))
    early = events.select(events.time < 60.0)
    late = events.select(np.argsort(events.time, kind="stable"))
    late = late.select(late.time >= 60.0)
    before = Interactions.build(early.user, early.item, columns_of(early), n_users=N_USERS)
    counts = Popularity().fit(before.history(N_ITEMS))
    for place in range(len(late)):
        user = int(late.user[place])
        row = slice(place, place + 1)
        one = UserEvents(
            item=late.item[row],
            time=late.time[row],
            event_type=late.event_type[row],
            amount=np.ones(1, np.float32),
            visit=TYPE_WEIGHT[late.event_type[row]],
            price=late.price[row],
            session=late.session[row],
        )
        seen = before.of(user)
        kinds = seen.event_type[seen.item == one.item[0]]
        counts.add(int(one.item[0]), int(one.event_type[0]), before=kinds)
        before.append(user, one)
    every = Interactions.build(events.user, events.item, columns_of(events), n_users=N_USERS)
    expected = Popularity().fit(every.history(N_ITEMS))
    np.testing.assert_allclose(counts.users, expected.users, rtol=1e-6)
    merged = before.merged(before.changed(), n_users=N_USERS)
    for user in range(N_USERS):
        np.testing.assert_array_equal(merged.of(user).item, every.of(user).item)
        np.testing.assert_array_equal(merged.of(user).visit, every.of(user).visit)


def three_kinds(
    n: int, seed: int
) -> tuple[list[DenseScores | SparseScores | DirectionScores], ItemVectors]:
    rng = np.random.default_rng(seed)
    vectors = ItemVectors.of(rng.normal(0.1, 1.0, size=(n, 8)).astype(np.float32))
    few = np.sort(rng.choice(n, n // 5, replace=False))
    return [
        DenseScores.of(rng.normal(size=n).astype(np.float32)),
        SparseScores(few, rng.random(len(few)).astype(np.float32)),
        DirectionScores(rng.normal(size=8).astype(np.float32)),
        DirectionScores(rng.normal(size=8).astype(np.float32)),
    ], vectors


def test_standardisation_leaves_out_what_is_no_candidate() -> None:
    signals, vectors = three_kinds(50, seed=0)
    excluded = np.array([3, 7, 8], np.int32)
    kept = np.setdiff1d(np.arange(50), excluded)
    plain = np.stack([signal.dense(vectors) for signal in signals])[:, kept]
    mean, deviation = mean_and_deviation([*signals, None], vectors, excluded)
    np.testing.assert_allclose(mean, [*plain.mean(axis=1), 0.0], atol=1e-5)
    np.testing.assert_allclose(deviation, [*plain.std(axis=1), np.inf], rtol=1e-4)
    flat = DenseScores.of(np.ones(50, np.float32))
    assert np.isinf(mean_and_deviation([flat], vectors, NO_EVENTS.item)[1]).all()


@pytest.mark.parametrize("seed", range(5))
def test_parts_of_a_ranking_add_up_and_order_as_a_plain_sum(seed: int) -> None:
    signals, vectors = three_kinds(200, seed)
    weights = np.array([0.2, 0.5, 0.2, 0.1], np.float32)
    allowed = np.random.default_rng(seed).random(200) < 0.8
    excluded = np.array([5, 60], np.int32)
    found = rank(signals, weights, vectors=vectors, excluded=excluded, allowed=allowed, k=20)
    matrix = np.stack([signal.dense(vectors) for signal in signals])
    kept = np.delete(matrix, excluded, axis=1)
    plain = (matrix - kept.mean(axis=1, keepdims=True)) / kept.std(axis=1, keepdims=True)
    plain = weights @ plain
    plain[~allowed] = -np.inf
    plain[excluded] = -np.inf
    np.testing.assert_array_equal(found.items, np.argsort(-plain, kind="stable")[:20])
    np.testing.assert_allclose(found.scores, plain[found.items], atol=1e-5)
    np.testing.assert_allclose(found.parts.sum(axis=1), found.scores, atol=1e-6)


@pytest.mark.parametrize("int8", [False, True])
def test_sums_over_all_vectors_follow_items_that_come_and_change(int8: bool) -> None:
    rng = np.random.default_rng(4)
    first = rng.normal(size=(40, 6)).astype(np.float32)
    news = rng.normal(size=(5, 6)).astype(np.float32)
    rows = np.array([3, 40, 41, 42, 17])
    found = ItemVectors.of(first, int8=int8).put(rows, news, n_items=43)
    whole = np.concatenate([first, np.zeros((3, 6), np.float32)])
    whole[rows] = news
    expected = ItemVectors.of(whole, int8=int8)
    np.testing.assert_array_equal(found[:], expected[:])
    np.testing.assert_allclose(found.total, expected.total, atol=1e-9)
    np.testing.assert_allclose(found.gram, expected.gram, atol=1e-9)
    direction = rng.normal(size=6).astype(np.float32)
    np.testing.assert_allclose(found.scores(direction), expected.scores(direction), atol=1e-6)


@pytest.mark.parametrize("int8", [False, True])
def test_a_row_that_is_put_twice_counts_once_with_its_last_vector(int8: bool) -> None:
    rng = np.random.default_rng(8)
    first, news = (rng.normal(size=(n, 6)).astype(np.float32) for n in (5, 4))
    found = ItemVectors.of(first, int8=int8).put(np.array([3, 5, 3, 5]), news, n_items=6)
    whole = np.concatenate([first[:3], news[2:3], first[4:], news[3:]])
    expected = ItemVectors.of(whole, int8=int8)
    np.testing.assert_array_equal(found[:], expected[:])
    np.testing.assert_allclose(found.total, expected.total, atol=1e-9)
    np.testing.assert_allclose(found.gram, expected.gram, atol=1e-9)


def test_rounded_products_are_never_further_off_than_they_say() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(3000, 32)).astype(np.float32) * rng.lognormal(size=(3000, 1))
    codes = QuantizedVectors.of(values.astype(np.float32))
    for scale in (1e-3, 1.0, 40.0):
        direction = (scale * rng.normal(size=32)).astype(np.float32)
        found, bound = codes.scores(direction)
        off = np.abs(found - values @ direction).max()
        assert 0.02 * bound < off <= bound


def test_the_best_by_rounded_and_exact_products_are_the_best_by_exact_ones() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(size=(2000, 16)).astype(np.float32)
    whole, rounded = ItemVectors.of(values), ItemVectors.of(values, int8=True)
    allowed, nothing = np.ones(2000, np.bool_), NO_EVENTS.item
    differing = 0
    for _ in range(20):
        signal, one = (
            DirectionScores(rng.normal(size=16).astype(np.float32)),
            np.ones(1, np.float32),
        )
        truth = np.argsort(-(values @ signal.direction))[:50]
        for vectors in (whole, rounded):
            found = rank([signal], one, vectors=vectors, excluded=nothing, allowed=allowed, k=50)
            if vectors is whole:
                np.testing.assert_array_equal(found.items, truth)
            else:
                differing += int((found.items != truth).any())
                assert len(np.intersect1d(found.items, truth)) >= 45
    assert differing > 0  # so that rounding alone would not do for the exact order


def test_equal_scores_rank_by_place() -> None:
    scores = np.array([1, 2, 2, -np.inf, 2, 0], np.float32)
    assert top_k(scores, 2).tolist() == [1, 2]
    assert top_k(scores, 10).tolist() == [1, 2, 4, 0, 5]
