"""Fusion: standardisation, weights that never lose on validation, and caution against noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.fusion import (
    Pool,
    add_signal,
    best_of,
    better,
    default_weights,
    fit_weights,
    fuse,
    local_weights,
    masked,
    ndcg_of,
    standardise,
)
from client.recommenders.history import History
from client.surfaces import SURFACES, Queries
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


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), surface=st.sampled_from(SURFACES))
def test_fusion_never_loses_to_the_best_single_signal_on_validation(
    seed: int, surface: str
) -> None:
    rng = np.random.default_rng(seed)
    queries = questions(rng)
    strengths = dict(zip(NAMES, rng.random(5) * 2, strict=True))
    signals = noisy_signals(queries, rng, {**strengths, "global": rng.random()})
    pool = pool_of(signals, queries)
    best = max(ndcg_of(signals[name], queries).mean() for name in NAMES)
    local = local_weights(pool, surface, NAMES)
    assert ndcg_of(fuse(signals, local), queries).mean() >= best - 1e-9
    both = add_signal(pool, local, "global", surface="discover")
    assert pool.ndcg(both).mean() >= pool.ndcg({**local, "global": 0.0}).mean()
    for weights in (local, both):
        assert min(weights.values()) >= 0
        assert sum(weights.values()) == pytest.approx(1.0)


def test_fit_gives_weight_zero_to_a_signal_that_only_harms() -> None:
    rng = np.random.default_rng(3)
    queries = questions(rng, q=200)
    signals = noisy_signals(queries, rng, {"ease": 3.0})
    signals["text"] = -signals["ease"]
    weights, floor = fit_weights(pool_of(signals, queries), ("ease", "text"))
    assert weights["ease"] > weights["text"]
    assert floor == pytest.approx(ndcg_of(signals["ease"], queries).mean())


def test_a_useful_signal_enters_and_noise_does_not() -> None:
    rng = np.random.default_rng(4)
    queries = questions(rng, q=300)
    signals = noisy_signals(queries, rng, {"ease": 1.0, "global": 1.0, "noise": 0.0})
    pool = pool_of(signals, queries)
    assert add_signal(pool, {"ease": 1.0}, "global", surface="discover")["global"] > 0.2
    assert add_signal(pool, {"ease": 1.0}, "noise", surface="discover") == {
        "ease": 1.0,
        "noise": 0.0,
    }


def test_better_asks_for_more_than_luck() -> None:
    gains = np.array([1.0, -1.0, 1.0, -0.9])
    assert not better(gains, np.zeros(4), caution=1.0)
    assert better(gains, np.zeros(4), caution=0.01)
    assert better(np.array([0.1, 0.2, 0.1]), np.zeros(3), caution=1.0)
    assert not better(np.zeros(3), np.zeros(3), caution=0.0)


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
