"""Ranking metrics against values computed by hand and against naive loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shared.metrics.ranking import (
    NOTHING,
    diversity,
    hit_rate,
    hits,
    ndcg,
    novelty,
    recall,
    top_k,
)

INF = np.inf


def test_top_k_breaks_ties_by_index() -> None:
    scores = np.array([[1.0, 3.0, 1.0, 3.0, 1.0], [0, 0, 0, 0, 0]], dtype=np.float32)
    assert top_k(scores, 3).tolist() == [[1, 3, 0], [0, 1, 2]]


def test_top_k_never_returns_what_is_masked() -> None:
    scores = np.array([[-INF, 2.0, -INF], [1.0, -INF, 5.0]], dtype=np.float32)
    assert top_k(scores, 2).tolist() == [[1, NOTHING], [2, 0]]
    assert top_k(scores, 9).tolist() == [[1, NOTHING, NOTHING], [2, 0, NOTHING]]


def test_top_k_refuses_nan() -> None:
    with pytest.raises(ValueError, match="NaN"):
        top_k(np.array([[1.0, np.nan, 0.0]], dtype=np.float32), 1)


@settings(max_examples=60, deadline=None)
@given(
    scores=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(1, 30)),
        elements=st.sampled_from([-INF, 0.0, 0.5, 1.0, 2.0, -3.0]),
    ),
    k=st.integers(1, 35),
)
def test_top_k_equals_a_full_stable_sort(scores: np.ndarray, k: int) -> None:
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    expected[np.isneginf(np.take_along_axis(scores, expected, axis=1))] = NOTHING
    assert top_k(scores, k).tolist() == expected.tolist()


@pytest.mark.parametrize("values", [1, 2, 40, 1_000_000])
@pytest.mark.parametrize("masked", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("k", [1, 20, 90])
def test_many_candidates_rank_like_a_full_stable_sort(values: int, masked: float, k: int) -> None:
    rng = np.random.default_rng(k)
    scores = rng.integers(0, values, size=(150, 3001)).astype(np.float32)
    scores[::3] *= rng.random((50, 3001)) < 0.003  # mostly zeros, as co-purchase scores are
    scores[rng.random(scores.shape) < masked] = -INF
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    expected[np.isneginf(np.take_along_axis(scores, expected, axis=1))] = NOTHING
    np.testing.assert_array_equal(top_k(scores, k), expected)


def test_accuracy_by_hand() -> None:
    ranked = np.array([[4, 0, 2], [1, 2, NOTHING]])
    targets = np.array([[1, 0, 1, 1, 0], [1, 0, 0, 0, 0]], dtype=bool)
    found = hits(ranked, targets)
    assert found.tolist() == [[False, True, True], [False, False, False]]
    n_targets = targets.sum(axis=1)
    dcg = 1 / math.log2(3) + 1 / math.log2(4)
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(found, n_targets, 10) == pytest.approx([dcg / ideal, 0.0])
    assert ndcg(found, n_targets, 2) == pytest.approx(
        [(1 / math.log2(3)) / (1 + 1 / math.log2(3)), 0.0]
    )
    assert hit_rate(found, 1).tolist() == [0.0, 0.0]
    assert hit_rate(found, 2).tolist() == [1.0, 0.0]
    assert recall(found, n_targets, 20) == pytest.approx([2 / 3, 0.0])


def test_ideal_stops_at_k() -> None:
    found = np.ones((1, 10), dtype=bool)
    assert ndcg(found, np.array([25]), 10) == pytest.approx([1.0])


def test_diversity_by_hand_and_with_zero_vectors() -> None:
    vectors = np.array([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0], [0.0, 0.0]], dtype=np.float32)
    ranked = np.array([[0, 1, 2], [0, 0, NOTHING], [0, 3, NOTHING], [1, NOTHING, NOTHING]])
    cosines = (0 + math.sqrt(0.5) + math.sqrt(0.5)) / 3
    expected = [1 - cosines, 0.0, 1.0]
    measured = diversity(ranked, vectors)
    assert measured[:3] == pytest.approx(expected, abs=1e-6)
    assert np.isnan(measured[3])


def test_novelty_by_hand() -> None:
    share = np.array([0.5, 0.125, 1.0])
    ranked = np.array([[0, 1], [2, NOTHING], [NOTHING, NOTHING]])
    measured = novelty(ranked, share)
    assert measured[:2] == pytest.approx([2.0, 0.0])
    assert np.isnan(measured[2])
