"""EASE with co-purchase pairs against the items by items inverse."""

from __future__ import annotations

import numpy as np
import pytest

from client.fusion.scores import ndcg_of
from client.recommenders.ease import EASE, FederatedEASE
from client.recommenders.queries import History, Queries, build_queries
from client.recommenders.tables.pair_gram import DIAGONAL, PairGram
from shared.interactions.events import Events
from shared.releases.noisy_statistics import PairRelease
from shared.releases.pair_sums import n_pairs, pair_sums, user_sizes
from tests.client.recommenders.small_shops import N_ITEMS, history_before, shop_events

HEAD = np.arange(0, N_ITEMS, 2, dtype=np.int32)
RAW = np.random.default_rng(0).normal(size=n_pairs(len(HEAD)))


def setting(n_users: int = 40) -> tuple[History, Queries]:
    events = shop_events(1, n_users)
    known = history_before(events, 72.0)
    window = events.select(events.time >= 72.0)
    queries = build_queries("discover", known=known, window=window, seed=0)
    assert isinstance(queries, Queries)
    return known, queries


def plain() -> EASE:
    return EASE(l2=20.0, form="strongest", half_life=120.0)


def with_pairs(gram: PairGram, l2: float) -> FederatedEASE:
    return FederatedEASE(gram, weight=1.0, l2=l2, form="strongest", half_life=120.0)


HEAD_3 = np.array([0, 1, 2], np.int32)


def users_of(*sizes: int) -> Events:
    """One user for each size, who took the items from code 0 on."""
    item = [i for size in sizes for i in range(size)]
    return Events.build(user=np.repeat(np.arange(len(sizes)), sizes), item=item, time=item)


def clipped(target: np.ndarray) -> np.ndarray:
    """Takes negative eigenvalues out one after the other."""
    values, axes = np.linalg.eigh(target)
    for value, axis in zip(values, axes.T, strict=True):
        if value < 0:
            target = target - value * np.outer(axis, axis)
    return target


def test_gram_of_a_shop_without_users_by_hand() -> None:
    gram = PairGram.of(HEAD_3, np.array([2.0, 0.0, 1.0]))
    # A typical user has 5 items: 10 pairs of 1 / sqrt(10), and a quarter of its row sums.
    pairs = np.sqrt(10) * np.array([[0, 2.0, 0.0], [2.0, 0, 1.0], [0.0, 1.0, 0]])
    target = pairs + np.diag(DIAGONAL * 0.25 * pairs.sum(axis=0))
    assert np.linalg.eigvalsh(target)[0] < 0
    assert gram.matrix == pytest.approx(clipped(target), abs=1e-5)


def test_gram_is_on_the_scale_of_the_shops_users() -> None:
    # The shop has a user of three items and one of two; the estimate is a like pair of users.
    own = users_of(3, 2)
    gram = PairGram.of(HEAD_3, pair_sums(own, HEAD_3), user_sizes(own, HEAD_3))
    root3 = np.sqrt(3)
    scale = (3 + 1) / (root3 + 1)
    share = (3 / root3 + 2) / (2 * (root3 + 1))
    square = scale * np.array([[0, 1 + 1 / root3, 1 / root3]] + 2 * [[0, 0, 1 / root3]])
    square = np.triu(square, 1) + np.triu(square, 1).T
    expected = clipped(square + np.diag(DIAGONAL * share * square.sum(axis=0)))
    assert gram.matrix == pytest.approx(expected, abs=1e-6)


def test_gram_of_users_of_one_size_is_their_own_gram(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.recommenders.tables.pair_gram.DIAGONAL", 1.0)
    own = Events.build(user=[0, 0, 1, 1], item=[0, 1, 1, 2], time=np.zeros(4))
    gram = PairGram.of(HEAD_3, pair_sums(own, HEAD_3), user_sizes(own, HEAD_3))
    assert gram.matrix == pytest.approx(np.array([[1, 1, 0], [1, 2, 1], [0, 1, 1]]), abs=1e-6)


def test_own_pairs_are_taken_out_and_never_below_zero() -> None:
    own = users_of(3)
    third = 1 / np.sqrt(3)
    vectors, popularity = np.eye(3), np.ones(3)
    gram, only = (
        PairGram.of_others(PairRelease(HEAD_3, noisy, 0.0, vectors, popularity), own)
        for noisy in (
            np.array([third, third / 2, third + 1.0], np.float32),
            np.array([third, third, third + 1.0], np.float32),
        )
    )
    assert gram.matrix == pytest.approx(only.matrix, abs=1e-6)
    assert np.abs(gram.matrix[0]).max() == pytest.approx(0.0, abs=1e-6)
    assert gram.matrix[1, 2] > 0
    whole = PairGram.of_others(
        PairRelease(HEAD_3, np.ones(3, np.float32), 0.0, vectors, popularity)
    )
    assert whole.matrix == pytest.approx(PairGram.of(HEAD_3, np.ones(3)).matrix)


@pytest.mark.parametrize("weight", [0.3, 2.0])
@pytest.mark.parametrize("l2", [3.0, 30.0])
def test_pairs_ease_equals_the_items_by_items_inverse(weight: float, l2: float) -> None:
    known, queries = setting()
    candidates = known.candidates[3:50]  # some head items are no candidates
    known = History(known.events, candidates, known.now)
    asked = History(queries.history.events, candidates, queries.history.now)
    gram = PairGram.of(HEAD, np.maximum(RAW, 0.0))
    x = known.rows("strongest", 30.0).astype(np.float64)
    wide = np.zeros((N_ITEMS, N_ITEMS))
    wide[np.ix_(HEAD, HEAD)] = gram.matrix
    added = weight * wide[np.ix_(candidates, candidates)]
    p = np.linalg.inv(x.T @ x + added + l2 * np.eye(len(candidates)))
    weights = -p / np.diag(p)
    np.fill_diagonal(weights, 0.0)
    expected = asked.rows("strongest", 30.0) @ weights
    model = FederatedEASE(gram, weight=weight, l2=l2, form="strongest", half_life=30.0).fit(known)
    allowed = queries.targets[:, 3:50]
    scores = model.score(Queries("for-you", queries.users, asked, asked, None, allowed))
    assert scores.dtype == np.float32
    assert scores == pytest.approx(expected, abs=1e-4)


def test_pairs_of_other_shops_help_a_small_shop_and_a_shop_without_users() -> None:
    known, queries = setting(12)
    others = [shop_events(seed, 60) for seed in (5, 6, 7)]
    head = np.arange(N_ITEMS, dtype=np.int32)
    gram = PairGram.of(head, sum(pair_sums(events, head) for events in others))
    alone = ndcg_of(plain().fit(known).score(queries), queries).mean()
    joined = ndcg_of(with_pairs(gram, 20.0).fit(known).score(queries), queries).mean()
    assert joined > alone + 0.01
    nobody = History(known.events.select(slice(0, 0)), known.candidates, known.now)
    scores = with_pairs(gram, 20.0).fit(nobody).score(queries)
    chance = np.random.default_rng(0).random(scores.shape, dtype=np.float32)
    assert ndcg_of(scores, queries).mean() > ndcg_of(chance, queries).mean() + 0.05


def test_no_pairs_at_all_is_plain_ease() -> None:
    known, queries = setting()
    gram = PairGram.of(HEAD, np.zeros(n_pairs(len(HEAD))))
    expected = plain().fit(known).score(queries)
    assert with_pairs(gram, 20.0).fit(known).score(queries) == pytest.approx(expected, abs=1e-4)


def test_unknown_candidates_get_the_mean_score() -> None:
    # Items 0 and 1 are known from the shop's user, item 2 from the pair (0, 2), item 9 from nobody.
    events = Events.build(user=[0, 0], item=[0, 1], time=[0.0, 1.0])
    history = History(events, np.array([0, 1, 2, 9], np.int32), np.array([1.0]))
    gram = PairGram.of(np.array([0, 2], np.int32), np.array([1.0]))
    asked = Queries("for-you", np.array([0]), history, history, None, np.ones((1, 4), np.bool_))
    scores = with_pairs(gram, 1.0).fit(history).score(asked)[0]
    assert scores[2] > 0
    assert scores[3] == pytest.approx(scores[:3].mean())
