"""A naive oracle for each algorithm, and what histories become."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from client.recommenders import item_knn
from client.recommenders.ease import EASE
from client.recommenders.item_knn import ItemKNN
from client.recommenders.popularity import Popularity
from client.recommenders.profile import ProfileRecommender, history_vectors
from client.recommenders.queries import Form, History, Queries, build_queries
from shared.interactions.events import Events
from simulation.evaluation import pooled_models
from tests.client.recommenders.small_shops import history_before, item_vectors, shop_events


def setting(seed: int = 0, surface: str = "for-you") -> tuple[History, Queries]:
    events = shop_events(seed)
    known = history_before(events, 72.0)
    window = events.select(events.time >= 72.0)
    queries = build_queries(surface, known=known, window=window, seed=seed)
    assert isinstance(queries, Queries)
    return known, queries


def hand_history() -> History:
    """User 0 took item 7 on days 0 and 10 (twice in one visit), item 9 on day 10."""
    events = Events.build(
        user=[0, 0, 0, 0, 1, 0],
        item=[7, 7, 7, 9, 9, 8],
        time=[0, 10, 10, 10, 5, 3],
        session=[1, 2, 2, 2, 3, 4],
    )
    return History(events, np.array([7, 9], np.int32), np.array([10.0, 10.0]))


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("binary", [[1, 1], [0, 1]]),
        ("strongest", [[1, 1], [0, 1]]),
        ("visits", [[np.log1p(1 + 0.5), np.log(2)], [0, np.log(2)]]),
    ],
)
def test_rows_by_hand(form: Form, expected: list[list[float]]) -> None:
    assert hand_history().rows(form, 10.0) == pytest.approx(np.array(expected))


def test_events_without_sessions_are_visits_of_their_own() -> None:
    events = Events.build(user=[0, 0], item=[7, 7], time=[10, 10])
    history = History(events, np.array([7], np.int32), np.array([10.0]))
    assert history.rows("visits", 10.0) == pytest.approx(np.log(3))


def test_popularity_counts_users_not_events() -> None:
    history = hand_history()
    queries = Queries("for-you", np.array([0]), history, history, None, np.ones((1, 2), bool))
    assert Popularity().fit(history).score(queries) == pytest.approx(np.log([[2.0, 3.0]]))


@pytest.mark.parametrize("form", ["binary", "strongest", "visits"])
@pytest.mark.parametrize("l2", [1.0, 50.0])
def test_ease_equals_the_items_by_items_inverse(form: Form, l2: float) -> None:
    known, queries = setting(1)
    x = known.rows(form, 30.0).astype(np.float64)
    p = np.linalg.inv(x.T @ x + l2 * np.eye(x.shape[1]))
    weights = -p / np.diag(p)
    np.fill_diagonal(weights, 0.0)
    expected = queries.history.rows(form, 30.0) @ weights
    for model in (EASE, pooled_models.EASE):
        scores = model(l2=l2, form=form, half_life=30.0).fit(known).score(queries)
        assert scores == pytest.approx(expected, abs=2e-4)


def test_restricted_ease_keeps_its_weights() -> None:
    known, queries = setting(1)
    ease = pooled_models.EASE(l2=20.0, form="strongest", half_life=120.0).fit(known)
    columns = np.array([1, 4, 5])
    part = History(queries.history.events, known.candidates[columns], queries.history.now)
    asked = Queries("for-you", queries.users, part, part, None, queries.targets[:, columns])
    x = np.zeros_like(queries.history.rows("strongest", 120.0))
    x[:, columns] = part.rows("strongest", 120.0)
    full = x - ease._ridge.of(sp.csr_array(x)) / ease._ridge.diagonal
    assert ease.restrict(columns).score(asked) == pytest.approx(full[:, columns], abs=1e-5)


def test_item_knn_equals_a_naive_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    known, queries = setting(2)
    x = known.rows("visits", 30.0).astype(np.float64)
    c, k, shrink = x.shape[1], 7, 3.0
    monkeypatch.setattr("client.recommenders.item_knn.N_NEIGHBOURS", k)
    near = np.zeros((c, c))
    for i in range(c):
        for j in range(c):
            norms = (x[:, i] @ x[:, i] + shrink) * (x[:, j] @ x[:, j] + shrink)
            near[i, j] = 1.0 if i == j else x[:, i] @ x[:, j] / np.sqrt(norms)
        smallest = np.sort(near[i])[-k]
        near[i, near[i] < smallest] = 0.0
    scores = ItemKNN(shrink=shrink, form="visits", half_life=30.0).fit(known).score(queries)
    assert scores == pytest.approx(queries.history.rows("visits", 30.0) @ near.T, abs=1e-4)


def test_item_knn_blocks_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.recommenders.item_knn.N_NEIGHBOURS", 600)
    rng = np.random.default_rng(0)
    items = np.arange(600)
    events = Events.build(
        user=rng.integers(0, 20, 4000), item=rng.integers(0, 600, 4000), time=np.zeros(4000)
    )
    history = History(events, items.astype(np.int32), np.zeros(20))
    model = ItemKNN(shrink=1.0, form="binary", half_life=1.0).fit(history)
    whole = model.neighbours.matrix(600).toarray()
    assert np.allclose(whole, whole.T, atol=1e-6)
    assert (np.diagonal(whole) == 1.0).all()


def test_history_vectors_weigh_by_recency_and_quantity_over_the_whole_catalogue() -> None:
    events = Events.build(user=[0, 0], item=[0, 2], time=[0, 10], quantity=[3, 1])
    history = History(events, np.array([0], np.int32), np.array([10.0, 10.0]))
    vectors = np.eye(3, dtype=np.float32)
    expected = np.array([[1.0, 0.0, 1.0], [0, 0, 0]]) / np.array([[2.0], [1.0]])
    assert history_vectors(history, vectors, half_life=10.0) == pytest.approx(expected)


def test_profile_score_by_hand() -> None:
    events = Events.build(user=[0], item=[0], time=[0])
    history = History(events, np.array([0, 1], np.int32), np.array([0.0]))
    vectors = np.array([[1.0, 0.0], [0.6, 0.8]], dtype=np.float32)
    prior = np.array([0.5, 2.0], dtype=np.float32)
    model = ProfileRecommender(vectors, lambda h: 3 * h, prior, half_life=1.0, prior_weight=0.5)
    queries = Queries("for-you", np.array([0]), history, history, None, np.ones((1, 2), bool))
    assert model.fit(history).score(queries) == pytest.approx(np.array([[3.25, 2.8]]))


def test_models_that_ask_the_same_history_get_their_own_profiles() -> None:
    known, queries = setting()
    for vectors in (item_vectors(), item_vectors()[::-1].copy()):
        for half_life in (5.0, 120.0):
            fresh = replace(queries, history=replace(queries.history))
            model = ProfileRecommender(vectors, half_life=half_life).fit(known)
            assert np.array_equal(model.score(queries), model.score(fresh))


def test_vectors_live_as_long_as_what_is_remembered_of_them() -> None:
    """Else a later array could get their id, and so their profiles."""
    known, queries = setting()
    vectors = item_vectors().copy()
    alive = weakref.ref(vectors)
    ProfileRecommender(vectors, half_life=1.0).fit(known).score(queries)
    del vectors
    assert alive() is not None


def test_of_equal_neighbours_the_first_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.array([[3, 1, 1, 1, 0], [0, 0, 0, 0, 0], [0, 0, 2, 0, 0]], dtype=np.float32)
    two_of_each = [[3, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 2, 0, 0]]
    nearest = item_knn._nearest(sp.csr_array(values), first=9)
    assert (nearest.toarray() == values).all()
    monkeypatch.setattr(item_knn, "N_NEIGHBOURS", 2)
    assert item_knn._nearest(sp.csr_array(values), first=9).toarray().tolist() == two_of_each


def test_rows_of_a_history_belong_to_the_caller() -> None:
    history = hand_history()
    before = history.rows("strongest", 10.0).copy()
    history.rows("strongest", 10.0)[:] = 7.0
    assert (history.rows("strongest", 10.0) == before).all()
