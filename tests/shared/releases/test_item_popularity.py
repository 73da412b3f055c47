"""Denoised counts come nearer to the truth than the noisy ones, by public means only."""

from __future__ import annotations

import numpy as np
import pytest

from shared.releases.noisy_statistics import denoise_counts, log_prior, signal_share


def world(n: int = 3000, dim: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    vectors = rng.standard_normal((n, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    truth = np.maximum(3.0 + 4.0 * vectors[:, 0], 0)
    truth[:20] += 200.0
    return vectors, truth


@pytest.mark.parametrize("std", [2.0, 10.0, 40.0])
def test_error_falls_below_that_of_the_counts_and_of_zero(std: float) -> None:
    vectors, truth = world()
    noisy = truth + std * np.random.default_rng(5).standard_normal(len(truth))
    found = denoise_counts(noisy.astype(np.float32), vectors, std=std)
    error = np.square(found - truth).mean()
    assert error < 0.6 * std**2
    assert error < 0.9 * np.square(truth).mean()
    assert (found >= 0).all()


def test_items_that_stand_out_of_the_noise_keep_standing_out() -> None:
    vectors, truth = world()
    noisy = truth + 10.0 * np.random.default_rng(6).standard_normal(len(truth))
    found = denoise_counts(noisy.astype(np.float32), vectors, std=10.0)
    assert set(np.argsort(-found)[:20]) == set(range(20))


def test_without_noise_counts_stay_as_they_are() -> None:
    vectors, truth = world()
    assert denoise_counts(truth.astype(np.float32), vectors, std=0) == pytest.approx(truth)


def test_prior_is_centred_and_rises_with_popularity() -> None:
    prior = log_prior(np.array([0.0, 1.0, 10.0, 100.0], dtype=np.float32))
    assert prior.mean() == pytest.approx(0.0, abs=1e-6)
    assert (np.diff(prior) > 0).all()
    assert np.isfinite(log_prior(np.zeros(3, dtype=np.float32))).all()


def test_an_item_without_counts_has_a_tenth_of_the_mean_added_as_all_have() -> None:
    prior = log_prior(np.array([0.0, 2.0], dtype=np.float32))  # mean 1, so 0.1 and 2.1
    assert prior[1] - prior[0] == pytest.approx(np.log(21.0), rel=1e-5)


@pytest.mark.parametrize("std", [0.05, 1.0, 5.0, 20.0])
def test_estimate_is_that_of_steins_risk_in_its_textbook_form(std: float) -> None:
    """Ridge with an intercept by its hat matrix, then the soft threshold of Donoho, Johnstone."""
    rng = np.random.default_rng(8)
    n = 40
    vectors = rng.normal(size=(n, 3))
    noisy = 15.0 + 6.0 * vectors[:, 0] + rng.normal(size=n) * (1.0 + std)
    design = np.column_stack([vectors, np.ones(n)])
    fits = []
    for strength in (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6):
        hat = design @ np.linalg.solve(design.T @ design + strength * np.eye(4), design.T)
        residual = noisy - hat @ noisy
        fits.append((residual @ residual + 2 * std**2 * np.trace(hat), hat @ noisy))
    fit = min(fits, key=lambda scored: scored[0])[1]
    rest = noisy - fit

    def risk(cut: float) -> float:
        small = np.abs(rest) <= cut
        return float(np.minimum(rest**2, cut**2).sum() - 2 * std**2 * small.sum())

    cut = min(np.abs(rest), key=risk)
    expected = np.maximum(fit + np.sign(rest) * np.maximum(np.abs(rest) - cut, 0.0), 0.0)
    found = denoise_counts(noisy, vectors, std=std)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_signal_share_tells_counts_from_noise() -> None:
    rng = np.random.default_rng(0)
    clean = rng.gamma(1.0, 3.0, 4000)
    noisy = (clean + 2.0 * rng.normal(size=4000)).astype(np.float32)
    true = np.linalg.norm(clean) / np.linalg.norm(noisy)
    assert signal_share(noisy, std=2.0) == pytest.approx(true, abs=0.02)
    assert signal_share(clean.astype(np.float32), std=0.0) == 1.0
    noise = rng.normal(size=4000).astype(np.float32)
    assert signal_share(noise, std=1.1) == 0.0
    assert signal_share(np.zeros(3, np.float32), std=1.0) == 0.0


@pytest.mark.parametrize(("users", "items"), [(3_231, 3_317), (22_363, 12_101), (2_000, 900)])
def test_counts_of_a_hopeless_budget_are_told_to_be_noise(users: int, items: int) -> None:
    """At epsilon .05 noise is 155 times a user's contribution: no shop may use what is released."""
    rng = np.random.default_rng(1)
    popularity = rng.gamma(0.5, 2.0, items)
    clean = rng.poisson(2.6 * users / items * popularity).astype(np.float64)
    noise = 155.0 * rng.normal(size=(20, items))
    assert [signal_share((clean + n).astype(np.float32), std=155.0) for n in noise] == [0.0] * 20
    assert signal_share((clean + noise[0] / 1550).astype(np.float32), std=0.1) > 0.99
