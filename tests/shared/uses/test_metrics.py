from __future__ import annotations

import numpy as np
import pytest

from shared.uses.metrics import Scored, auc, auc_in_user, interval, lift_of_best_tenth, rmsle


def scored(label: list[float], score: list[float], group: list[int]) -> Scored:
    n = np.arange(len(label))
    return Scored(np.array(label, float), np.array(score, float), np.array(group), n)


def naive_auc(s: Scored, weights: np.ndarray) -> float:
    right = pairs = 0.0
    for i in np.flatnonzero(s.label > 0):
        for j in np.flatnonzero(s.label == 0):
            if s.group[i] == s.group[j]:
                w = weights[i] * weights[j]
                pairs += w
                right += w * ((s.score[i] > s.score[j]) + 0.5 * (s.score[i] == s.score[j]))
    return right / pairs


def test_auc_is_the_share_of_pairs_within_groups() -> None:
    rng = np.random.default_rng(0)
    s = scored(
        list(rng.integers(0, 2, 60)), list(rng.integers(0, 6, 60)), list(rng.integers(0, 4, 60))
    )
    weights = rng.integers(0, 4, (5, 60)).astype(float)
    expected = [naive_auc(s, w) for w in weights]
    np.testing.assert_allclose(auc(s, weights), expected)


def test_auc_in_user_is_a_mean_over_users_with_both_answers() -> None:
    s = scored([1, 0, 1, 0, 0, 1], [2, 1, 1, 1, 3, 0], [0, 0, 1, 1, 2, 3])
    assert auc_in_user(s, np.ones((1, 6)))[0] == pytest.approx((1 + 0.5) / 2)


def test_lift_of_the_best_tenth_by_hand() -> None:
    label = [1.0] * 2 + [0.0] * 16 + [1.0] * 2
    s = scored(label, list(range(20, 0, -1)), [0] * 20)
    assert lift_of_best_tenth(s, np.ones((1, 20)))[0] == pytest.approx(1 / 0.2)


def test_rmsle_by_hand() -> None:
    s = scored([0, np.e - 1], [0, 0], [0, 0])
    assert rmsle(s, np.ones((1, 2)))[0] == pytest.approx(np.sqrt(0.5))


def test_an_interval_covers_and_leaves_out_what_was_not_scored() -> None:
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, 400).astype(float)
    score = label + rng.normal(size=400)
    s = scored(list(label), list(score), [0] * 400)
    hidden = Scored(s.label, np.where(np.arange(400) < 50, np.nan, s.score), s.group, s.unit)
    got = interval(auc, [s, hidden], draws=200, rng=np.random.default_rng(0))
    assert got.low < got.mean < got.high
    rest = scored(list(label[50:]), list(score[50:]), [0] * 350)
    expected = (auc(s, np.ones((1, 400))) + auc(rest, np.ones((1, 350))))[0] / 2
    assert got.mean == pytest.approx(expected)
