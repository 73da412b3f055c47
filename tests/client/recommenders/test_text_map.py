"""The shop's own text map: what it learns, and what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest

from client.fusion.scores import ndcg_of
from client.recommenders.profile import ProfileRecommender, history_vectors
from client.recommenders.queries import History, Queries, build_queries
from client.recommenders.text_map import TextMap
from shared.interactions.events import Events
from tests.client.recommenders.small_shops import N_ITEMS, history_before, item_vectors, shop_events


def unit(n: int, d: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def successors(n_users: int = 120) -> tuple[History, Queries]:
    """Item `i` is followed by `i + 1`; texts of neighbours have nothing in common."""
    rng = np.random.default_rng(1)
    first = rng.integers(0, N_ITEMS - 2, n_users)
    user = np.repeat(np.arange(n_users), 2)
    events = Events.build(
        user=user, item=(first[:, None] + [0, 1]).ravel(), time=np.tile([0.0, 1.0], n_users)
    )
    candidates = np.arange(N_ITEMS, dtype=np.int32)
    history = History(events, candidates, np.full(n_users, 1.0))
    ask = Events.build(user=np.arange(n_users), item=first, time=np.zeros(n_users))
    context = History(ask, candidates, np.zeros(n_users))
    targets = np.eye(N_ITEMS, dtype=np.bool_)[first + 1]
    return history, Queries(
        "discover", np.arange(n_users), context, context, ~context.known, targets
    )


def test_it_learns_what_goes_with_what() -> None:
    history, queries = successors()
    vectors = unit(N_ITEMS, 32)
    zero_shot = ndcg_of(ProfileRecommender(vectors, half_life=120.0).score(queries), queries).mean()
    model = TextMap(vectors, half_life=120.0, epochs=20, learning_rate=0.01, batch=64)
    assert ndcg_of(model.fit(history).score(queries), queries).mean() > zero_shot + 0.4


def test_scores_by_hand() -> None:
    history, queries = successors(5)
    vectors = unit(N_ITEMS, 4)
    model = TextMap(vectors, epochs=2, half_life=3.0).fit(history)
    means = history_vectors(queries.history, vectors, half_life=3.0)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    assert model.score(queries) == pytest.approx(means @ model.map @ vectors.T, abs=1e-6)


def test_one_step_is_the_gradient_of_the_cross_entropy() -> None:
    history, _ = successors(3)
    vectors = unit(N_ITEMS, 4)
    model = TextMap(vectors, half_life=120.0, epochs=1, learning_rate=1e-3, pairs=1, scale=2.0).fit(
        history
    )
    ((profiles, targets),) = model._batches(history)
    scores = 2.0 * profiles.numpy() @ vectors.T
    chance = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    pull = np.eye(N_ITEMS)[targets.numpy()] - chance
    gradient = profiles.numpy().T @ pull @ vectors
    # Adam's first step has the size of the learning rate and the sign of the gradient.
    assert model.map - np.eye(4) == pytest.approx(1e-3 * np.sign(gradient), rel=1e-3)


def test_nothing_to_learn_from_is_zero_shot_text() -> None:
    _, queries = successors()
    vectors = unit(N_ITEMS, 8)
    nobody = History(
        queries.history.events.select(slice(0, 0)), queries.history.candidates, np.zeros(3)
    )
    scores = TextMap(vectors, half_life=120.0).fit(nobody).score(queries)
    plain = ProfileRecommender(vectors, half_life=120.0).score(queries)
    assert np.array_equal(np.argsort(scores, axis=1), np.argsort(plain, axis=1))


@pytest.mark.parametrize("surface", ["for-you", "basket"])
def test_it_beats_chance_and_repeats(surface: str) -> None:
    events = shop_events(4)
    known = history_before(events, 72.0)
    window = events.select(events.time >= 72.0)
    queries = build_queries(surface, known=known, window=window, seed=0)
    assert isinstance(queries, Queries)
    scores = TextMap(item_vectors(), half_life=120.0).fit(known).score(queries)
    assert np.isfinite(scores).all()
    assert np.array_equal(
        scores, TextMap(item_vectors(), half_life=120.0).fit(known).score(queries)
    )
    chance = np.random.default_rng(0).random(scores.shape, dtype=np.float32)
    assert ndcg_of(scores, queries).mean() > ndcg_of(chance, queries).mean() + 0.05
