"""Calibration: never above epsilon by any accountant, and not needlessly below."""

from __future__ import annotations

import math
from typing import Any

import pytest
from dp_accounting.gaussian_mechanism import get_sigma_gaussian
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import PrivacyError
from shared.privacy.accounting.accountants import epsilon_pair, epsilon_pld
from shared.privacy.accounting.calibration import calibrate, check_delta, largest_delta, round_up
from shared.privacy.accounting.guarantee import Mechanism


def plan(**changes: Any) -> tuple[Mechanism, ...]:
    values: dict[str, Any] = {
        "epsilon": 8.0,
        "delta": 1e-5,
        "steps": 8,
        "sample_rate": 1.0,
        "max_grad_norm": 0.01,
        "counts_share": 0.1,
        "pairs_share": 0.0,
        "counts_max_norm": 1.0,
        "pairs_max_norm": 1.0,
        **changes,
    }
    rest = 1 - values["counts_share"] - values["pairs_share"]
    return calibrate(**{"adapter_share": rest, **values})


@settings(max_examples=25, deadline=None)
@given(
    epsilon=st.floats(0.05, 20),
    log_delta=st.floats(-9, -2),
    steps=st.integers(1, 500),
    share=st.sampled_from([(0.0, 0.0), (0.1, 0.0), (0.7, 0.0), (0.2, 0.6), (0.4, 0.6), (1.0, 0.0)]),
)
def test_full_batch_plans_use_the_budget_up_and_never_exceed_it(
    epsilon: float, log_delta: float, steps: int, share: tuple[float, float]
) -> None:
    delta, (counts, pairs) = 10**log_delta, share
    rest = round(1 - counts - pairs, 9)
    mechanisms = plan(
        epsilon=epsilon,
        delta=delta,
        steps=steps,
        counts_share=counts,
        pairs_share=pairs,
        adapter_share=rest,
    )
    names = {"dp-sgd": rest, "item-counts": counts, "pair-sums": pairs}
    assert [m.name for m in mechanisms] == [name for name, part in names.items() if part > 0]
    first, second = epsilon_pair(mechanisms, delta)
    assert max(first, second) <= epsilon
    assert max(first, second) >= epsilon * (1 - 1e-3)


@pytest.mark.parametrize(
    ("epsilon", "steps", "rate", "share"),
    [(1.0, 100, 0.1, 0.1), pytest.param(8.0, 50, 0.2, 0.0, marks=pytest.mark.slow)],
)
def test_sampled_plans_use_the_budget_up_and_never_exceed_it(
    epsilon: float, steps: int, rate: float, share: float
) -> None:
    mechanisms = plan(epsilon=epsilon, steps=steps, sample_rate=rate, counts_share=share)
    first, second = epsilon_pair(mechanisms, 1e-5)
    assert max(first, second) <= epsilon
    assert max(first, second) >= epsilon * (1 - 1e-3)
    less = Mechanism("dp-sgd", mechanisms[0].noise_multiplier * 0.997, rate, steps, 0.01)
    assert max(epsilon_pair((less, *mechanisms[1:]), 1e-5)) > epsilon


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_users", "rate", "steps", "noises"),
    [(300, 0.1, 100, (2.62, 1.59, 1.06, 0.75)), (1000, 0.05, 400, (2.97, 1.74, 1.13, 0.80))],
)
def test_golden_noise_multipliers(
    n_users: int, rate: float, steps: int, noises: tuple[float, ...]
) -> None:
    for epsilon, noise in zip((1.0, 2.0, 4.0, 8.0), noises, strict=True):
        mechanisms = plan(
            epsilon=epsilon, delta=n_users**-1.1, steps=steps, sample_rate=rate, counts_share=0.0
        )
        assert mechanisms[0].noise_multiplier == pytest.approx(noise, rel=0.025)


def test_counts_get_their_share_of_mu_squared() -> None:
    descent, counts = plan(counts_share=0.1, steps=8)
    mu = 1 / get_sigma_gaussian(8.0, 1e-5)
    assert counts.noise_multiplier**-2 == pytest.approx(0.1 * mu**2, rel=1e-3)
    assert 8 * descent.noise_multiplier**-2 == pytest.approx(0.9 * mu**2, rel=1e-3)
    assert (descent.name, descent.steps, descent.max_norm) == ("dp-sgd", 8, 0.01)
    assert (counts.name, counts.steps, counts.sample_rate) == ("item-counts", 1, 1.0)
    assert counts.max_norm == 1.0


def test_every_part_gets_its_share_with_training_and_without() -> None:
    mu = 1 / get_sigma_gaussian(8.0, 1e-5)
    for adapter in (0.2, 0.0):
        found = (
            {m.name: m for m in plan(counts_share=0.4 - adapter, pairs_share=0.6, steps=8)}
            if adapter
            else {
                m.name: m
                for m in plan(counts_share=0.4, pairs_share=0.6, adapter_share=0.0, steps=0)
            }
        )
        assert ("dp-sgd" in found) == (adapter > 0)
        spent = {name: m.steps / m.noise_multiplier**2 / mu**2 for name, m in found.items()}
        assert spent["item-counts"] == pytest.approx(0.4 - adapter, rel=2e-3)
        assert spent["pair-sums"] == pytest.approx(0.6, rel=2e-3)
        assert found["pair-sums"].max_norm == 1.0
        assert {m.shared_by for m in found.values()} == {1}


def test_no_share_means_no_counts() -> None:
    assert [m.name for m in plan(counts_share=0.0)] == ["dp-sgd"]


def test_sampling_needs_less_noise_a_step_than_the_full_batch() -> None:
    full, sampled = plan(epsilon=1.0), plan(epsilon=1.0, sample_rate=0.3)
    assert sampled[0].noise_multiplier < full[0].noise_multiplier
    assert epsilon_pld(sampled, 1e-5) <= 1.0


@pytest.mark.slow
def test_noise_has_a_floor_where_the_rate_alone_would_do() -> None:
    mechanisms = plan(steps=1, sample_rate=1e-6, counts_share=0.0)
    assert mechanisms[0].noise_multiplier == 0.1
    assert max(epsilon_pair(mechanisms, 1e-5)) <= 8.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epsilon": 0.0}, r"epsilon=0\.0 must be between .* --epsilon"),
        ({"epsilon": -1.0}, r"epsilon=-1\.0 must be"),
        ({"epsilon": 0.01}, r"epsilon=0\.01 must be"),
        ({"epsilon": math.nan}, r"epsilon=nan must be"),
        ({"epsilon": math.inf}, r"epsilon=inf must be"),
        ({"delta": 0.0}, r"delta=0\.0 must be .* --delta"),
        ({"delta": 1.0}, r"delta=1\.0 must be"),
        ({"steps": 0}, r"steps=0 must be at least 1"),
        ({"sample_rate": 0.0}, r"sample_rate=0\.0 must be"),
        ({"counts_share": 1.5}, r"counts_share=1\.5 must be in \[0, 1\]"),
        ({"pairs_share": -0.5, "counts_share": 0.5}, r"pairs_share=-0\.5 must be in"),
        ({"adapter_share": 0.8}, r"counts_share=0\.1 .* = 0\.9 must be 1; .* --budget"),
    ],
)
def test_bad_plans_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(PrivacyError, match=message):
        plan(**changes)


def test_delta_must_be_a_tenth_of_one_of_the_stated_users() -> None:
    for delta, max_users in ((1e-5, None), (1e-5, 10_000), (1e-6, 100_000), (1 / 3e5, 30_000)):
        check_delta(delta, max_users)
    assert largest_delta(100_000) == 1e-6
    message = r"delta=1e-05 must be at most 1e-06, one over ten times max_users=100000; lower it "
    with pytest.raises(
        PrivacyError, match=message + "with --delta, or state fewer users with --ma"
    ):
        check_delta(1e-5, 100_000)


@given(st.floats(1e-3, 1e6))
def test_rounding_never_lowers_noise_and_keeps_five_digits(value: float) -> None:
    rounded = round_up(value)
    assert value * (1 - 1e-12) <= rounded <= value * (1 + 1.01e-4)
    assert float(f"{rounded:.5g}") == rounded


def test_rounding_by_hand() -> None:
    assert round_up(1.23456) == 1.2346
    assert round_up(1.2345) == 1.2345
    assert round_up(123450.1) == 123460.0
