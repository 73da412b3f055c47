"""Intervals: against theory, naive loops and hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest

from shared.metrics.bootstrap import bootstrap_means, coverage, resample


def test_every_sample_has_as_many_users_as_there_are() -> None:
    counts = resample(7, 50, np.random.default_rng(0))
    assert counts.shape == (50, 7)
    assert (counts.sum(axis=1) == 7).all()
    assert counts.std() > 0.5


def test_interval_matches_the_normal_theory() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(2.0, 1.0, size=(400, 1))
    interval = bootstrap_means(values, resample(400, 2000, rng))[0]
    half = 1.96 * values.std() / np.sqrt(400)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_users_without_a_value_do_not_count() -> None:
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, np.nan]])
    known, nothing = bootstrap_means(values, resample(3, 200, np.random.default_rng(2)))
    assert known.mean == 2.0
    assert (known.low, known.high) == (1.0, 3.0)
    assert nothing.to_json() == {"mean": None, "low": None, "high": None}


def test_coverage_by_hand() -> None:
    shown = np.array([[0, 1], [0, 2], [0, -1]])
    interval = coverage(shown, 4)
    assert interval.mean == 0.75
    without = np.array([0.5, 0.5, 0.75])  # item 1 goes with the first user, item 2 with the second
    error = np.sqrt(2 / 3 * np.square(without - without.mean()).sum())
    assert interval.low == pytest.approx(0.75 - 1.959964 * error)
    assert interval.high == 1.0


def test_coverage_interval_holds_the_measured_value_where_a_bootstrap_would_not() -> None:
    rng = np.random.default_rng(4)
    shown = rng.integers(0, 3000, size=(200, 20))
    interval = coverage(shown, 3000)
    drawn = [len(np.unique(shown[rng.integers(0, 200, 200)])) / 3000 for _ in range(50)]
    assert max(drawn) < interval.mean
    assert interval.low < interval.mean < interval.high


def test_coverage_of_nobody_is_unknown() -> None:
    assert coverage(np.empty((0, 20), dtype=np.int64), 5).to_json()["mean"] is None
