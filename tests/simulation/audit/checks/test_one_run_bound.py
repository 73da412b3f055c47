"""The bounds of the one-run audit against closed forms and simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from shared.privacy.accounting.accountants import epsilon_pld
from shared.privacy.accounting.guarantee import Mechanism
from simulation.audit.checks.one_run_bound import (
    count_correct,
    epsilon_low_f_dp,
    epsilon_low_steinke,
    gaussian,
    is_possible,
    scaled,
    trade_off,
)


def test_gaussian_trade_off_by_hand() -> None:
    curve = trade_off(Mechanism("dp-sgd", 2.0, 1.0, 16, 1.0))  # mu = 4 / 2
    assert curve(norm.sf(1.0)) == pytest.approx(norm.cdf(1.0 - 2.0))
    assert gaussian(0.0)(0.3) == pytest.approx(0.7)


def test_the_sampled_curve_meets_the_exact_one_at_full_batch() -> None:
    sampled = trade_off(Mechanism("dp-sgd", 1.13, 0.999999, 4, 1.0))
    exact = gaussian(2 / 1.13)
    for false_positive in (0.001, 0.01, 0.1, 0.5, 0.9):
        assert sampled(false_positive) == pytest.approx(exact(false_positive), rel=5e-3)
        assert sampled(false_positive) <= exact(false_positive) + 2e-4


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_sampled_curve_is_a_trade_off_curve(a: float, b: float) -> None:
    curve = SAMPLED
    assert 0 <= curve(a) <= 1 - a + 1e-12
    assert curve((a + b) / 2) <= (curve(a) + curve(b)) / 2 + 1e-9  # convex
    delta = 1e-5  # (epsilon, delta)-DP is a line below it
    assert curve(a) >= 1 - delta - math.exp(SAMPLED_EPSILON) * a - 1e-9


SAMPLING = Mechanism("dp-sgd", 1.0, 0.1, 100, 1.0)
SAMPLED = trade_off(SAMPLING)
SAMPLED_EPSILON = epsilon_pld([SAMPLING], 1e-5)


def test_guesses_are_the_extremes_and_right_ones_are_counted() -> None:
    scores = np.array([5.0, 0.1, 4.0, -3.0, 0.2, 0.3, 0.1, 0.2, 0.4, -4.0])
    took_part = np.array([True, False, False, True, False, True, False, True, True, False])
    assert count_correct(scores, took_part) == (2, 2)  # one yes (5.0), one no (-4.0)
    assert count_correct(-scores, took_part) == (2, 0)


def test_steinke_without_delta_is_the_binomial_tail() -> None:
    low = epsilon_low_steinke(1000, 40, 40, 0.0)
    assert (math.exp(low) / (1 + math.exp(low))) ** 40 == pytest.approx(0.05, rel=1e-3)
    assert epsilon_low_steinke(1000, 40, 20, 0.0) == 0.0
    assert epsilon_low_steinke(1000, 40, 0, 0.0) == 0.0


def test_delta_weakens_the_bound() -> None:
    bounds = [epsilon_low_steinke(1000, 100, 95, delta) for delta in (0.0, 1e-5, 1e-4, 1e-2)]
    assert bounds[0] > bounds[1] > bounds[2] > bounds[3] == 0.0


def test_the_f_dp_bound_holds_for_the_true_curve_and_refutes_a_stronger_claim() -> None:
    # 2,000 coins, Gaussian scores: the true curve is refuted in at most 5% of runs.
    mechanism = Mechanism("dp-sgd", 1.0, 1.0, 1, 1.0)
    rng, m, false, caught = np.random.default_rng(5), 2_000, 0, 0
    for _ in range(40):
        took_part = rng.random(m) < 0.5
        guesses, correct = count_correct(took_part + rng.standard_normal(m), took_part)
        counted = {"canaries": m, "guesses": guesses, "correct": correct}
        false += not is_possible(trade_off(mechanism), **counted)
        caught += not is_possible(trade_off(scaled(mechanism, 3.0)), **counted)
    assert false <= 4  # 2 are expected at most
    assert caught == 40


def test_the_f_dp_bound_at_epsilon_four_is_above_one_and_a_half() -> None:
    # Noise of one Gaussian release at epsilon 4, delta 1e-5.
    mechanism, m = Mechanism("dp-sgd", 1.0808, 1.0, 1, 1.0), 2_000
    rng, lows = np.random.default_rng(6), []
    for _ in range(10):
        took_part = rng.random(m) < 0.5
        scores = took_part + mechanism.noise_multiplier * rng.standard_normal(m)
        guesses, correct = count_correct(scores, took_part)
        low, factor = epsilon_low_f_dp(m, guesses, correct, mechanism=mechanism, delta=1e-5)
        assert factor > 1
        assert low > epsilon_low_steinke(m, guesses, correct, 1e-5)
        lows.append(low)
    assert 1.5 < min(lows) < max(lows) < 4.0


def test_guessing_at_random_refutes_nothing() -> None:
    mechanism = Mechanism("dp-sgd", 1.0, 1.0, 1, 1.0)
    assert epsilon_low_f_dp(2_000, 400, 205, mechanism=mechanism, delta=1e-5)[0] < 0.02
