"""The posterior of noisy pairs against integration, and what it gains on known sums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from shared.releases.noisy_statistics import (
    LEAST_PAIRS,
    SpikeAndTail,
    estimate_pairs,
    fit_prior,
    pair_bins,
    posterior_mean,
)
from shared.releases.pair_sums import n_pairs


@pytest.mark.parametrize("std", [0.3, 1.0, 4.0])
@pytest.mark.parametrize(("share", "mean"), [(0.1, 1.0), (0.6, 3.0)])
@pytest.mark.parametrize("value", [-2.0, 0.1, 2.5, 9.0])
def test_posterior_mean_equals_integration(
    std: float, share: float, mean: float, value: float
) -> None:
    def normal(x: float) -> float:
        return float(np.exp(-0.5 * (x / std) ** 2))

    def tail(theta: float) -> float:
        return share / mean * np.exp(-theta / mean) * normal(value - theta)

    top = max(value, 0.0) + 12 * std
    peak = [max(value - std**2 / mean, 1e-9)]
    above = quad(lambda t: t * tail(t), 0, top, points=peak, limit=400)[0]
    mass = quad(tail, 0, top, points=peak, limit=400)[0] + (1 - share) * normal(value)
    found = posterior_mean(np.array([value]), std, SpikeAndTail(share, mean))
    assert found == pytest.approx(above / mass, rel=1e-5, abs=1e-12)


@given(
    st.floats(0.05, 20), st.floats(1e-6, 0.99), st.floats(0.2, 50), st.lists(st.floats(-90, 300))
)
def test_posterior_mean_is_finite_not_negative_and_rises(
    std: float, share: float, ratio: float, values: list[float]
) -> None:
    ordered = np.sort(np.array(values)) * std
    found = posterior_mean(ordered, std, SpikeAndTail(share, ratio * std))
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (np.diff(found) >= -1e-9 * (1 + found[:-1])).all()


def test_fit_prior_finds_the_prior() -> None:
    rng = np.random.default_rng(1)
    n = 40_000
    clean = np.where(rng.random(n) < 0.15, rng.exponential(4.0, n), 0.0)
    prior = fit_prior(clean + rng.normal(size=n), 1.0)
    assert prior.share == pytest.approx(0.15, abs=0.02)
    assert prior.mean == pytest.approx(4.0, rel=0.1)


def sums_with_structure(h: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs exist mostly within groups of like vectors and among popular items."""
    rng = np.random.default_rng(2)
    group = np.arange(h) % 12
    vectors = np.eye(12)[group] + 0.2 * rng.normal(size=(h, 12))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    popularity = np.exp(rng.normal(size=h))
    first, second = np.triu_indices(h, 1)
    chance = np.where(group[first] == group[second], 0.5, 0.01)
    clean = np.where(rng.random(n_pairs(h)) < chance, rng.exponential(3.0, n_pairs(h)), 0.0)
    return clean, vectors, popularity


def test_bins_by_text_beat_one_prior_for_all_and_the_raw_sums() -> None:
    clean, vectors, popularity = sums_with_structure()
    noisy = clean + np.random.default_rng(3).normal(size=len(clean))
    found = estimate_pairs(noisy, std=1.0, vectors=vectors, popularity=popularity)
    flat = posterior_mean(noisy, 1.0, fit_prior(noisy, 1.0))

    def error(estimate: np.ndarray) -> float:
        return float(np.square(estimate - clean).sum())

    assert error(found) < 0.9 * error(flat)
    assert error(flat) < 0.5 * error(np.maximum(noisy, 0.0))


def test_a_bin_of_many_pairs_has_its_own_prior_and_one_of_few_that_of_all() -> None:
    clean, vectors, popularity = sums_with_structure()
    noisy = clean + np.random.default_rng(3).normal(size=len(clean))
    found = estimate_pairs(noisy, std=1.0, vectors=vectors, popularity=popularity)
    whole = fit_prior(noisy, 1.0)
    bins = pair_bins(vectors, popularity)
    sizes = np.bincount(bins)
    few = np.isin(bins, np.flatnonzero(sizes < LEAST_PAIRS))
    assert 0 < few.sum() < len(bins)
    assert found[few] == pytest.approx(posterior_mean(noisy[few], 1.0, whole))
    largest = noisy[bins == sizes.argmax()]
    own = fit_prior(largest, 1.0, start=whole)
    assert abs(own.share - whole.share) > 0.02
    assert found[bins == sizes.argmax()] == pytest.approx(posterior_mean(largest, 1.0, own))


def test_bins_separate_text_before_popularity() -> None:
    _, vectors, popularity = sums_with_structure()
    bins = pair_bins(vectors, popularity)
    first, second = np.triu_indices(len(vectors), 1)
    cosine = (vectors @ vectors.T)[first, second]
    assert cosine[bins >= 24].min() >= cosine[bins < 24].max()
    assert bins.max() == 9 * 8 - 1
    product = popularity[first] * popularity[second]
    assert product[bins % 8 == 7].min() >= product[bins % 8 == 6].max()


def test_without_noise_the_sums_are_kept() -> None:
    clean, vectors, popularity = sums_with_structure(10)
    found = estimate_pairs(clean - 0.5, std=0.0, vectors=vectors, popularity=popularity)
    assert found == pytest.approx(np.maximum(clean - 0.5, 0))


def test_a_head_of_two_items_is_enough() -> None:
    found = estimate_pairs(np.array([3.0]), std=1.0, vectors=np.eye(2), popularity=np.ones(2))
    assert found.shape == (1,)
    assert 0 <= found[0] <= 3.0
