"""Epsilon: golden values, naive oracles, invariants and refusals of every accountant."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import PRVAccountant
from scipy.stats import norm

from shared.errors import PrivacyError
from shared.privacy.accounting import accountants
from shared.privacy.accounting.accountants import (
    epsilon_gaussian,
    epsilon_pair,
    epsilon_pld,
    epsilon_prv,
    guarantee,
    require_agreement,
)
from shared.privacy.accounting.guarantee import Mechanism

ACCOUNTANTS = [epsilon_prv, epsilon_pld, epsilon_gaussian]
GOLDEN = [  # (noise, rate, steps), delta, PRV at eps_error 0.01, PLD
    ((1.0, 0.1, 100), 1.9e-3, 4.440, 4.4295),
    ((1.0, 0.05, 200), 1e-4, 4.010, 3.999),
    ((0.8, 0.01, 1000), 1e-5, 3.151, 3.141),
]


def sgd(noise: float, rate: float = 1.0, steps: int = 1) -> Mechanism:
    return Mechanism("dp-sgd", noise, rate, steps, 1.0)


def counts(noise: float) -> Mechanism:
    return Mechanism("item-counts", noise, 1.0, 1, 1.0)


@pytest.mark.parametrize(("plan", "delta", "prv", "pld"), GOLDEN)
def test_both_accountants_give_the_golden_epsilons(
    plan: tuple[float, float, int], delta: float, prv: float, pld: float
) -> None:
    mechanisms = [sgd(*plan)]
    assert epsilon_prv(mechanisms, delta, eps_error=0.01) == pytest.approx(prv, abs=1e-3)
    assert epsilon_pld(mechanisms, delta) == pytest.approx(pld, abs=1e-3)


def test_prv_at_its_default_precision_is_within_a_hundredth_of_a_percent_of_golden() -> None:
    assert epsilon_prv([sgd(1.0, 0.05, 200)], 1e-4) == pytest.approx(4.0007, abs=1e-4)
    assert epsilon_pld([sgd(1.0, 0.05, 200)], 1e-4) == pytest.approx(3.9993, abs=1e-4)


def naive_delta(noise: float, rate: float, epsilon: float) -> float:
    """Integrates max(0, p - e^epsilon q) for one sampled Gaussian step, both directions."""
    x = np.linspace(-12 * noise, 12 * noise + 1, 400_001)
    without = norm.pdf(x, 0, noise)
    with_user = (1 - rate) * without + rate * norm.pdf(x, 1, noise)
    excess = [
        np.maximum(p - math.exp(epsilon) * q, 0)
        for p, q in ((with_user, without), (without, with_user))
    ]
    return max(float(np.trapezoid(values, x)) for values in excess)


@pytest.mark.parametrize(("noise", "rate"), [(0.8, 0.1), (1.5, 0.5), (0.6, 0.01)])
@pytest.mark.parametrize("accountant", [epsilon_prv, epsilon_pld])
def test_one_sampled_step_matches_the_integral_of_the_definition(
    accountant: Callable[..., float], noise: float, rate: float
) -> None:
    delta = 1e-4
    epsilon = accountant([sgd(noise, rate)], delta)
    assert naive_delta(noise, rate, epsilon) <= delta * (1 + 1e-3)
    assert naive_delta(noise, rate, epsilon - 0.005) > delta


@pytest.mark.parametrize("accountant", ACCOUNTANTS)
def test_full_batch_matches_the_closed_form_of_balle_and_wang(
    accountant: Callable[..., float],
) -> None:
    epsilon = accountant([sgd(3.0, steps=8), counts(5.0)], 1e-5)
    mu = math.sqrt(8 / 9 + 1 / 25)
    left = norm.cdf(mu / 2 - epsilon / mu)
    right = math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)
    tolerance = 0.01 if accountant is epsilon_prv else 1e-4
    assert left - right == pytest.approx(1e-5, rel=tolerance)


@pytest.mark.parametrize("accountant", ACCOUNTANTS)
class TestContract:
    """What every accountant must do alike."""

    def test_nothing_released_costs_nothing(self, accountant: Callable[..., float]) -> None:
        assert accountant([], 1e-5) == 0
        assert accountant([sgd(1.0, steps=0)], 1e-5) == 0

    def test_no_noise_costs_infinity(self, accountant: Callable[..., float]) -> None:
        assert accountant([sgd(2.0), counts(0.0)], 1e-5) == math.inf

    def test_split_and_shuffled_steps_cost_the_same(self, accountant: Callable[..., float]) -> None:
        whole = [sgd(4.0, steps=10), counts(6.0)]
        parts = [sgd(4.0, steps=3), counts(6.0), sgd(4.0, steps=7)]
        assert accountant(parts, 1e-5) == accountant(whole, 1e-5)

    def test_more_steps_cost_more_and_more_delta_costs_less(
        self, accountant: Callable[..., float]
    ) -> None:
        base = accountant([sgd(4.0, steps=10)], 1e-5)
        assert accountant([sgd(4.0, steps=11)], 1e-5) > base
        assert accountant([sgd(4.0, steps=10)], 1e-4) < base

    def test_name_is_irrelevant_but_must_be_known(self, accountant: Callable[..., float]) -> None:
        assert accountant([counts(2.0)], 1e-5) == accountant([sgd(2.0)], 1e-5)
        with pytest.raises(PrivacyError, match="mechanism='laplace' is not known"):
            accountant([Mechanism("laplace", 1.0, 1.0, 1, 1.0)], 1e-5)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("change", "name"),
        [
            ({"noise_multiplier": -1.0}, "noise_multiplier=-1.0"),
            ({"noise_multiplier": math.nan}, "noise_multiplier=nan"),
            ({"sample_rate": 0.0}, "sample_rate=0.0"),
            ({"sample_rate": 1.5}, "sample_rate=1.5"),
            ({"steps": -1}, "steps=-1"),
        ],
    )
    def test_refuses_parameters_out_of_bounds(
        self, accountant: Callable[..., float], change: dict[str, Any], name: str
    ) -> None:
        values = {"noise_multiplier": 1.0, "sample_rate": 1.0, "steps": 1, **change}
        with pytest.raises(PrivacyError, match=name):
            accountant([Mechanism(name="dp-sgd", max_norm=1.0, **values)], 1e-5)

    @pytest.mark.parametrize("delta", [0.0, 1.0, 1e-11, math.nan])
    def test_refuses_delta_out_of_bounds(
        self, accountant: Callable[..., float], delta: float
    ) -> None:
        with pytest.raises(PrivacyError, match="delta="):
            accountant([sgd(1.0)], delta)


@settings(max_examples=30, deadline=None)
@given(
    noise=st.floats(0.5, 50),
    steps=st.integers(1, 50),
    log_delta=st.floats(-8, -2),
)
def test_exact_gaussian_and_pld_agree_on_full_batches(
    noise: float, steps: int, log_delta: float
) -> None:
    mechanisms, delta = [sgd(noise * math.sqrt(steps), steps=steps)], 10**log_delta
    exact, pld = epsilon_gaussian(mechanisms, delta), epsilon_pld(mechanisms, delta)
    assert exact <= pld + 1e-9
    assert pld == pytest.approx(exact, abs=1e-3)


def test_exact_gaussian_refuses_sampled_plans() -> None:
    with pytest.raises(PrivacyError, match=r"sample_rate=0\.1 of dp-sgd must be 1"):
        epsilon_gaussian([sgd(1.0, 0.1)], 1e-5)


def test_sampling_is_never_worse_than_the_full_batch() -> None:
    sampled, full = [sgd(2.0, 0.3, 20)], [sgd(2.0, 1.0, 20)]
    assert epsilon_pld(sampled, 1e-5) < epsilon_pld(full, 1e-5)


def test_full_batch_guarantee_is_exact_and_says_so() -> None:
    mechanisms = (sgd(3.0, steps=8), counts(5.0))
    promise = guarantee(mechanisms, delta=1e-5)
    assert promise.epsilon == epsilon_gaussian(mechanisms, 1e-5)
    assert promise.epsilon_check == epsilon_pld(mechanisms, 1e-5)
    assert promise.sampling == "full-batch"
    assert "Gaussian" in promise.accountant
    assert "PLD" in promise.accountant_check
    assert promise.mechanisms == mechanisms
    assert promise.delta == 1e-5


def test_one_sampled_mechanism_makes_the_whole_plan_sampled() -> None:
    promise = guarantee([counts(5.0), sgd(1.0, 0.1, 50)], delta=1e-4)
    assert promise.sampling == "poisson"
    assert promise.accountant == "Opacus PRV"
    assert promise.epsilon == pytest.approx(promise.epsilon_check, abs=0.01)
    assert promise.epsilon != promise.epsilon_check
    assert (promise.epsilon, promise.epsilon_check) == epsilon_pair(promise.mechanisms, 1e-4)


def test_a_user_of_two_shops_pays_for_both() -> None:
    one = [sgd(3.0, steps=8)]
    both = guarantee([*one, *one], delta=1e-5)
    assert both.epsilon == guarantee([sgd(3.0, steps=16)], delta=1e-5).epsilon
    assert both.epsilon > guarantee(one, delta=1e-5).epsilon


def test_no_noise_gives_no_guarantee() -> None:
    with pytest.raises(PrivacyError, match="noise_multiplier=0 gives no guarantee"):
        guarantee([sgd(0.0)], delta=1e-5)


@pytest.mark.parametrize("other", [3.97, 4.03, math.inf, math.nan])
def test_accountants_that_disagree_are_refused(other: float) -> None:
    require_agreement(4.0, 4.02, "PLD")
    with pytest.raises(PrivacyError, match="differ by more"):
        require_agreement(4.0, other, "PLD")


def test_more_sampled_steps_than_the_accountant_can_hold_are_refused() -> None:
    with pytest.raises(PrivacyError, match=r"steps=100001 must be at most 100000"):
        epsilon_prv([sgd(100.0, 0.01, 100_001)], 1e-5)


@pytest.mark.parametrize(
    ("plan", "message"),
    [((0.01, 0.5, 1), r"noise_multiplier=0\.01 must be at"), ((0.5, 1.0, 101), "= 404 must be at")],
)
def test_a_plan_that_would_keep_the_accountants_busy_for_nothing_is_refused(
    plan: tuple[float, float, int], message: str
) -> None:
    for accountant in (epsilon_prv, epsilon_pld):
        with pytest.raises(PrivacyError, match=message):
            accountant([sgd(*plan)], 1e-5)


def test_a_failure_inside_a_library_becomes_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> float:
        raise RuntimeError("Discrete mean differs significantly from continuous mean.")

    monkeypatch.setattr(PRVAccountant, "get_epsilon", fail)
    with pytest.raises(PrivacyError, match=r"cannot bound .*Discrete mean.* raise the noise"):
        epsilon_prv([sgd(1.2345, 0.5, 10)], 1e-5)


def test_many_distinct_noises_stay_affordable_and_are_never_understated() -> None:
    mechanisms = [sgd(20.0 + i, steps=2) for i in range(12)]
    exact, pld = epsilon_gaussian(mechanisms, 1e-5), epsilon_pld(mechanisms, 1e-5)
    assert exact <= pld <= exact + 0.02


def test_a_computation_without_a_result_is_not_read_as_privacy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accountants, "_gaussian", lambda *_: math.nan)
    plan = [Mechanism("item-counts", 3.0, 1.0, 1, 1.0)]
    with pytest.raises(PrivacyError, match=r"cannot bound .*: no result"):
        accountants.epsilon_gaussian(plan, 1e-5)
