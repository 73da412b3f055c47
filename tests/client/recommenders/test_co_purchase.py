"""Vectors of co-purchase against sums written out, planted groups, and noise."""

from __future__ import annotations

import numpy as np
import pytest

from client.recommenders.profile import ProfileRecommender
from client.recommenders.queries import History, Queries, build_queries
from client.recommenders.tables.co_purchase import RIDGE, STRENGTH, CoPurchaseVectors
from client.recommenders.tables.pair_gram import PairGram
from shared.interactions.events import Events
from shared.releases.noisy_statistics import release_pairs
from shared.releases.pair_sums import n_pairs, pair_sums
from tests.client.recommenders.small_shops import N_ITEMS, history_before, shop_events

HEAD = np.arange(1, N_ITEMS, 3, dtype=np.int32)
GROUPS = 5


def gram_of_groups(h: int = 60) -> PairGram:
    """Items of one group, by remainder, are taken together, others are not."""
    first, second = np.triu_indices(h, 1)
    pairs = np.where(first % GROUPS == second % GROUPS, 3.0, 0.0)
    return PairGram.of(np.arange(h, dtype=np.int32), pairs)


def history_of(*baskets: list[int]) -> History:
    users = np.repeat(np.arange(len(baskets)), [len(basket) for basket in baskets])
    item = np.array([i for basket in baskets for i in basket], np.int32)
    time = np.concatenate([np.arange(len(b), dtype=np.float64) for b in baskets])
    events = Events.build(user=users, item=item, time=time)
    now = np.array([float(len(basket)) for basket in baskets])
    return History(events, np.arange(N_ITEMS, dtype=np.int32), now)


def test_products_are_partial_correlations() -> None:
    gram = gram_of_groups(20)
    matrix = gram.matrix.astype(np.float64)
    inverse = np.linalg.inv(matrix + RIDGE * matrix.diagonal().mean() * np.eye(20))
    partial = np.array(
        [
            [0.0 if i == j else -inverse[i, j] / np.sqrt(inverse[i, i] * inverse[j, j])]
            for i in range(20)
            for j in range(20)
        ]
    ).reshape(20, 20)
    values, axes = np.linalg.eigh(partial)
    positive = (axes * np.maximum(values, 0)) @ axes.T
    vectors = CoPurchaseVectors.of(gram).values.astype(np.float64)
    assert vectors @ vectors.T == pytest.approx(positive * 20 / np.trace(positive), abs=1e-5)


def test_a_group_is_what_its_members_get() -> None:
    vectors = CoPurchaseVectors.of(gram_of_groups())
    scores = vectors.scores(vectors.profile(np.array([7]), np.array([1.0])))
    group = vectors.head % GROUPS == 7 % GROUPS
    group[7] = False
    assert scores[group].min() > 10 * np.abs(scores[~group & (vectors.head != 7)]).max()


def test_groups_outlast_the_noise_of_their_pairs() -> None:
    h, rng = 60, np.random.default_rng(3)
    clean = gram_of_groups(h)
    first, second = np.triu_indices(h, 1)
    pairs = np.where(first % GROUPS == second % GROUPS, 3.0, 0.0)
    release = release_pairs(
        (pairs + rng.normal(size=n_pairs(h))).astype(np.float32),
        head=clean.head,
        std=1.0,
        item_vectors=rng.normal(size=(h, 8)).astype(np.float32),
        popularity=np.ones(h, np.float32),
    )
    assert release is not None
    vectors = CoPurchaseVectors.of(PairGram.of_others(release))
    products = vectors.values @ vectors.values.T
    same = (clean.head[:, None] - clean.head) % GROUPS == 0
    apart = ~same
    np.fill_diagonal(same, False)
    assert (products[same] > np.quantile(products[apart], 0.95)).mean() > 0.9


def test_a_score_is_the_sum_written_out() -> None:
    vectors = CoPurchaseVectors.of(gram_of_groups())
    history = history_of([3, 8, 70, 3], [5], [71])
    profiles = vectors.history_profiles(history, half_life=2.0)
    weight = {3: 2.0 ** (-4 / 2) + 2.0 ** (-1 / 2), 8: 2.0 ** (-3 / 2), 70: 2.0**-1}
    length = np.sqrt(sum(w**2 for w in weight.values()))
    expected = (weight[3] * vectors.values[3] + weight[8] * vectors.values[8]) / length
    assert profiles[0] == pytest.approx(expected, abs=1e-5)
    assert profiles[2] == pytest.approx(0.0)  # an item that the federation does not know
    assert vectors.scores(profiles)[1] == pytest.approx(
        STRENGTH * vectors.values @ vectors.values[5], abs=1e-4
    )
    one = vectors.profile(
        np.array([3, 8, 70, 3]), np.exp2(-np.array([4.0, 3.0, 2.0, 1.0]) / 2).astype(np.float32)
    )
    assert one == pytest.approx(profiles[0], abs=1e-6)


def test_an_empty_history_says_nothing() -> None:
    vectors = CoPurchaseVectors.of(gram_of_groups())
    empty = vectors.profile(np.zeros(0, np.int32), np.zeros(0, np.float32))
    assert vectors.scores(empty) == pytest.approx(0.0)


def test_the_profile_model_adds_them_to_texts_and_popularity() -> None:
    known = history_before(shop_events(1, 40), 72.0)
    window = shop_events(1, 40)
    queries = build_queries(
        "discover",
        known=known,
        window=window.select(window.time >= 72.0),
        seed=0,
    )
    assert isinstance(queries, Queries)
    item_vectors = np.random.default_rng(1).normal(size=(N_ITEMS, 4)).astype(np.float32)
    prior = np.linspace(-1, 1, N_ITEMS).astype(np.float32)
    vectors = CoPurchaseVectors.of(PairGram.of(HEAD, pair_sums(known.events, HEAD)))
    plain = ProfileRecommender(item_vectors, None, prior, half_life=30.0).score(queries)
    both = ProfileRecommender(item_vectors, None, prior, half_life=30.0, co_purchase=vectors).score(
        queries
    )
    added = both - plain
    of_head = np.isin(queries.history.candidates, HEAD)
    profiles = vectors.history_profiles(queries.history, half_life=30.0)
    expected = vectors.scores(profiles)[:, np.isin(HEAD, queries.history.candidates)]
    assert added[:, of_head] == pytest.approx(expected, abs=1e-4)
    assert added[:, ~of_head] == pytest.approx(0.0)
    assert np.abs(expected).max() > 0.1
