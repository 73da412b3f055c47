"""Fusion: standardisation, weights that never lose on validation, and caution against noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.fusion.fusion_weights import (
    COLLABORATIVE_FACTORS,
    GLOBAL_ALONE,
    MIN_QUERIES,
    add_federated_signals,
    add_public_federated_weights,
    default_weights,
    fit_weights,
    local_weights,
    public_trust,
    weights_without_users,
)
from client.fusion.scores import Pool, best_of, better, fuse, masked, ndcg_of, standardise
from client.recommenders.queries import SURFACES, History, Queries
from shared.interactions.events import Events

NAMES = ("popularity", "frequency", "item-knn", "ease", "text")


def questions(rng: np.random.Generator, q: int = 30, c: int = 80) -> Queries:
    events = Events.build(user=[], item=[], time=[])
    history = History(events, np.arange(c, dtype=np.int32), np.zeros(q))
    allowed = rng.random((q, c)) < 0.8
    targets = (rng.random((q, c)) < 0.1) & allowed
    targets[:, 0] = allowed[:, 0] = True
    return Queries("discover", np.arange(q), history, history, allowed, targets)


def noisy_signals(
    queries: Queries, rng: np.random.Generator, strengths: dict[str, float]
) -> dict[str, np.ndarray]:
    return {
        name: standardise(
            (strength * queries.targets + rng.normal(size=queries.targets.shape)).astype(
                np.float32
            ),
            queries.allowed,
        )
        for name, strength in strengths.items()
    }


def pool_of(signals: dict[str, np.ndarray], queries: Queries) -> Pool:
    best = {name: best_of(scores, queries) for name, scores in signals.items()}
    return Pool.of(signals, best, queries)


def test_standardise_by_hand() -> None:
    scores = np.array([[1.0, 3.0, 100.0], [5.0, 5.0, 5.0]], dtype=np.float32)
    allowed = np.array([[True, True, False], [True, True, True]])
    standard = standardise(scores, allowed)
    assert standard[0, :2] == pytest.approx([-1.0, 1.0])
    assert standard[1].tolist() == [0.0, 0.0, 0.0]


@settings(max_examples=25, deadline=None)
@given(shift=st.floats(-50, 50), scale=st.floats(0.1, 50))
def test_standardise_forgets_shift_and_scale(shift: float, scale: float) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(4, 20)).astype(np.float32)
    moved = (scores * scale + shift).astype(np.float32)
    assert standardise(moved, None) == pytest.approx(standardise(scores, None), abs=1e-2)


def test_fuse_by_hand() -> None:
    signals = {"a": np.array([[1.0, 2.0]], np.float32), "b": np.array([[4.0, -2.0]], np.float32)}
    assert fuse(signals, {"a": 2.0, "b": 0.5}).tolist() == [[4.0, 3.0]]
    assert fuse(signals, {"a": 0.0, "b": 1.0}).tolist() == [[4.0, -2.0]]


def test_pool_measures_like_a_full_ranking() -> None:
    rng = np.random.default_rng(1)
    queries = questions(rng)
    signals = noisy_signals(queries, rng, {"ease": 1.0, "text": 0.5})
    mix = {"ease": 1.0, "text": 0.4}
    full = ndcg_of(fuse(signals, mix), queries)
    assert pool_of(signals, queries).ndcg(mix) == pytest.approx(full)


def test_a_pool_holds_no_item_that_must_not_be_recommended() -> None:
    rng = np.random.default_rng(2)
    queries = questions(rng)
    assert queries.allowed is not None
    few = queries.allowed & (np.arange(80) < 12)  # fewer than each signal puts into the pool
    queries = replace(queries, allowed=few, targets=queries.targets & few)
    pool = pool_of(signals := noisy_signals(queries, rng, {"ease": 1.0, "text": 0.5}), queries)
    assert np.isfinite(pool.signals["ease"]).sum(axis=1).tolist() == few.sum(axis=1).tolist()
    mix = {"ease": 1.0, "text": 0.4}
    assert pool.ndcg(mix) == pytest.approx(ndcg_of(fuse(signals, mix), queries))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), surface=st.sampled_from(SURFACES))
def test_joining_never_loses_clearly_on_validation(seed: int, surface: str) -> None:
    rng = np.random.default_rng(seed)
    queries = questions(rng)
    strengths = dict(zip(NAMES, rng.random(5) * 2, strict=True))
    signals = noisy_signals(queries, rng, {**strengths, "pairs": 0.0, "global": rng.random()})
    pool = pool_of(signals, queries)
    local = local_weights(pool, surface, NAMES)
    both = add_federated_signals(pool, local, ("pairs", "global"), surface=surface)
    gain = pool.ndcg(both) - pool.ndcg({**local, "pairs": 0.0, "global": 0.0})
    assert gain.mean() >= -1.5 * gain.std(ddof=1) / np.sqrt(len(gain)) - 1e-9
    for weights in (local, both):
        assert min(weights.values()) >= 0
        assert sum(weights.values()) == pytest.approx(1.0)


def test_local_weights_reach_the_best_single_signal_where_there_are_many_queries() -> None:
    rng = np.random.default_rng(8)
    queries = questions(rng, q=600)
    signals = noisy_signals(queries, rng, dict(zip(NAMES, (0.0, 0.1, 0.2, 0.3, 2.0), strict=True)))
    pool = pool_of(signals, queries)
    best = max(pool.ndcg({name: 1.0}).mean() for name in NAMES)
    weights = local_weights(pool, "for-you", NAMES)  # the public mix knows text as the least
    assert pool.ndcg(weights).mean() >= best - 0.003


def test_fit_gives_weight_zero_to_a_signal_that_only_harms() -> None:
    rng = np.random.default_rng(3)
    queries = questions(rng, q=200)
    signals = noisy_signals(queries, rng, {"ease": 3.0})
    signals["text"] = -signals["ease"]
    weights, single = fit_weights(pool_of(signals, queries), ("ease", "text"))
    assert weights["ease"] > weights["text"]
    assert single == {"ease": 1.0, "text": 0.0}


def test_fit_gives_weight_zero_to_a_signal_that_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    queries = questions(rng, q=100)
    signals = noisy_signals(queries, rng, {"ease": 2.0, "flat": 0.0})
    signals["flat"] = np.zeros_like(signals["ease"])
    weights, _ = fit_weights(pool_of(signals, queries), ("ease", "flat"))
    assert weights == {"ease": 1.0, "flat": 0.0}


def test_a_signal_that_helps_only_with_a_small_weight_enters_with_it() -> None:
    rng = np.random.default_rng(10)
    queries = questions(rng, q=900)
    pool = pool_of(noisy_signals(queries, rng, {"text": 2.0, "global": 0.5}), queries)
    weights = add_federated_signals(
        pool, {"text": 1.0}, ("global",), surface="discover", reliability=1e-6
    )
    assert 0.0 < weights["global"] < 0.5


def test_two_federated_signals_enter_beside_each_other() -> None:
    rng = np.random.default_rng(11)
    queries = questions(rng, q=900)
    strengths = {"text": 0.2, "pairs": 1.5, "global": 1.0}
    pool = pool_of(noisy_signals(queries, rng, strengths), queries)
    first, both = (
        add_federated_signals(pool, {"text": 1.0}, names, surface="discover", reliability=1e-6)
        for names in (("pairs",), ("pairs", "global"))
    )
    assert min(both["pairs"], both["global"]) > 0.1
    assert pool.ndcg(both).mean() > pool.ndcg(first).mean() + 0.02


def test_a_useful_signal_enters_and_noise_does_not() -> None:
    rng = np.random.default_rng(4)
    queries = questions(rng, q=900)
    signals = noisy_signals(queries, rng, {"text": 1.0, "global": 1.0, "noise": 0.0})
    pool = pool_of(signals, queries)
    assert (
        add_federated_signals(pool, {"text": 1.0}, ("global",), surface="discover")["global"] > 0.2
    )
    assert add_federated_signals(pool, {"text": 1.0}, ("noise",), surface="discover") == {
        "text": 1.0,
        "noise": 0.0,
    }


def test_what_a_signal_from_outside_replaces_may_fall() -> None:
    rng = np.random.default_rng(6)
    queries = questions(rng, q=900)
    signals = noisy_signals(queries, rng, {"ease": 0.2, "text": 1.0, "pairs": 1.5})
    pool = pool_of(signals, queries)
    weights = add_federated_signals(
        pool, {"ease": 0.5, "text": 0.5}, ("pairs",), surface="discover"
    )
    assert weights["pairs"] > 0.3
    assert weights["ease"] < 0.6 * weights["text"]
    assert 1.0 in COLLABORATIVE_FACTORS  # it need not fall


def test_few_queries_lean_on_the_public_mix() -> None:
    rng = np.random.default_rng(7)
    queries = questions(rng, q=3)
    signals = noisy_signals(queries, rng, {"text": 0.5, "global": 0.5})
    pool = pool_of(signals, queries)
    public = add_public_federated_weights({"text": 1.0}, ("global",), surface="discover")
    found = add_federated_signals(pool, {"text": 1.0}, ("global",), surface="discover")
    assert found["global"] == pytest.approx(public["global"], abs=0.05)


def test_nothing_enters_of_what_cannot_be_told_from_noise() -> None:
    pool = helped_by_global(300)
    weights = add_federated_signals(
        pool, {"text": 1.0}, ("global",), surface="discover", reliability=0.0
    )
    assert weights == {"text": 1.0, "global": 0.0}
    public = add_public_federated_weights(
        {"text": 1.0}, ("global",), surface="discover", reliability=0.0
    )
    assert public == {"text": 1.0, "global": 0.0}


def test_public_weights_enter_as_far_as_they_are_reliable() -> None:
    whole, half = (
        add_public_federated_weights(
            {"text": 1.0}, ("global",), surface="discover", reliability=share
        )
        for share in (1.0, 0.5)
    )
    assert half["global"] == pytest.approx(whole["global"] / 2)
    assert sum(half.values()) == pytest.approx(1.0)


def test_what_drowns_in_noise_is_not_advised() -> None:
    rng = np.random.default_rng(9)
    queries = questions(rng, q=3)
    pool = pool_of(noisy_signals(queries, rng, {"text": 2.0, "global": 0.0}), queries)
    drowned = add_federated_signals(
        pool, {"text": 1.0}, ("global",), surface="for-you", reliability=1e-6
    )
    assert drowned == {"text": 1.0, "global": 0.0}


@pytest.mark.parametrize(
    ("surface", "queries", "least", "enters"),
    [
        ("cold", 29, MIN_QUERIES, False),
        ("cold", 30, MIN_QUERIES, True),
        ("cold", 29, 0, True),
        ("discover", 29, MIN_QUERIES, True),
    ],
)
def test_a_handful_of_queries_lets_nothing_in_that_nothing_advises(
    surface: str, queries: int, least: int, enters: bool
) -> None:
    pool = helped_by_global(queries)
    weights = add_federated_signals(
        pool, {"text": 1.0}, ("global",), surface=surface, min_queries=least
    )
    assert (weights["global"] > 0) is enters


def test_a_handful_of_queries_follows_advice_as_far_as_it_is_reliable() -> None:
    pool = helped_by_global(29)
    public = add_public_federated_weights({"text": 1.0}, ("global",), surface="discover")["global"]
    found = [
        add_federated_signals(
            pool, {"text": 1.0}, ("global",), surface="discover", reliability=share
        )["global"]
        for share in (1e-6, 0.5, 1.0)
    ]
    assert found == pytest.approx(
        [share * public_trust(pool) * public for share in (0, 0.5, 1)], abs=1e-5
    )
    many = helped_by_global(30)
    drowned = add_federated_signals(
        many, {"text": 1.0}, ("global",), surface="discover", reliability=1e-6
    )
    assert drowned["global"] > 0.2  # they say so clearly themselves


def helped_by_global(queries: int) -> Pool:
    rng = np.random.default_rng(3)
    asked = questions(rng, q=queries)
    return pool_of(noisy_signals(asked, rng, {"text": 0.1, "global": 5.0}), asked)


def test_sparse_histories_lean_on_text() -> None:
    names = ("ease", "text-map")
    dense, sparse = (default_weights("discover", names, sparse=s) for s in (False, True))
    assert dense["text-map"] == 0
    assert sparse["text-map"] > sparse["ease"]


def test_public_mixes_name_kinds_of_signals_not_models() -> None:
    weights = add_public_federated_weights(
        {"text": 1.0}, ("pairs-epsilon-8", "global"), surface="discover"
    )
    assert weights["pairs-epsilon-8"] > 0
    assert sum(weights.values()) == pytest.approx(1.0)
    assert add_public_federated_weights({"text": 1.0}, ("pairs",), surface="for-you")["pairs"] == 0


def test_the_global_model_counts_more_where_no_pairs_were_released() -> None:
    beside = add_public_federated_weights({"text": 1.0}, ("pairs", "global"), surface="discover")
    alone = add_public_federated_weights({"text": 1.0}, ("global",), surface="discover")
    assert beside["global"] / beside["text"] == pytest.approx(2.0)
    assert alone["global"] / alone["text"] == pytest.approx(2.0 * GLOBAL_ALONE)
    pooled = add_public_federated_weights({"text": 1.0}, ("pairs",), surface="discover")
    assert pooled["pairs"] / pooled["text"] == pytest.approx(0.3)


def test_better_asks_for_more_than_luck() -> None:
    gains = np.array([1.0, -1.0, 1.0, -0.9])
    assert not better(gains, np.zeros(4), standard_errors=1.0)
    assert better(gains, np.zeros(4), standard_errors=0.01)
    assert better(np.array([0.1, 0.2, 0.1]), np.zeros(3), standard_errors=1.0)
    assert not better(np.zeros(3), np.zeros(3), standard_errors=0.0)


def test_lenience_lets_pass_a_loss_that_may_be_luck() -> None:
    losses = np.array([1.0, -1.0, 1.0, -1.2])
    assert better(losses, np.zeros(4), standard_errors=-1.0)
    assert not better(losses - 2.0, np.zeros(4), standard_errors=-1.0)
    assert better(np.array([-1.0]), np.zeros(1), standard_errors=-0.1)  # one query says nothing


@pytest.mark.parametrize("surface", SURFACES)
def test_public_mixes_sum_to_one(surface: str) -> None:
    weights = default_weights(surface, NAMES)
    assert set(weights) == set(NAMES)
    assert sum(weights.values()) == pytest.approx(1.0)


def test_masked_candidates_cannot_rank() -> None:
    queries = questions(np.random.default_rng(5))
    assert queries.allowed is not None
    assert (
        np.isneginf(masked(np.zeros(queries.targets.shape, np.float32), queries)).tolist()
        == (~queries.allowed).tolist()
    )


@pytest.mark.parametrize("surface", SURFACES)
def test_a_dated_shop_without_users_follows_what_was_released(surface: str) -> None:
    local = {"ease": 0.4, "text": 0.6}
    found = weights_without_users(local, ("pairs", "global"), surface=surface)
    assert sum(found.values()) == pytest.approx(1.0)
    if surface == "cold":  # nothing that was released knows a new item
        assert found == {**local, "pairs": 0.0, "global": 0.0}
    else:
        assert found["ease"] == found["text"] == 0.0
        assert found["global"] > found["pairs"] >= 0.0
    assert weights_without_users(local, (), surface=surface) == local
