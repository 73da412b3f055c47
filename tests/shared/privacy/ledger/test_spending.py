"""Epsilon of planned, adaptive and mixed ledgers, against closed forms and second accountants."""

import json
import math
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import PrivacyError
from shared.privacy.accounting.accountants import (
    epsilon_gaussian,
    epsilon_pair,
    epsilon_pld,
    epsilon_prv,
)
from shared.privacy.accounting.calibration import calibrate
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger import renyi_filter as rdp_filter
from shared.privacy.ledger.log.entries import LifetimeLimits
from shared.privacy.ledger.reporting.evidence import Evidence
from shared.privacy.ledger.reporting.people import compose_shops
from shared.privacy.ledger.reporting.planner import forecast_plan
from shared.privacy.ledger.reporting.rendering import to_html, to_markdown
from shared.privacy.ledger.reporting.statement import statement
from shared.privacy.ledger.reporting.status import budget_status, read_ledger
from shared.privacy.ledger.reporting.verify import verify
from shared.privacy.ledger.spending import compose_spending
from shared.settings.run_settings import RunSettings
from tests.shared.privacy.ledger.shop_ledgers import (
    PLAN,
    START,
    counts,
    full_run,
    open_ledger,
    request,
)


def gaussian(noise: float, steps: int, rate: float = 1.0) -> Mechanism:
    return Mechanism("dp-sgd", noise, rate, steps, 1.0)


def naive_epsilon(rdp: float, order: float, delta: float) -> float:
    """Balle et al., https://arxiv.org/abs/1905.09982, Theorem 21, written out."""
    return rdp + math.log((order - 1) / order) - (math.log(delta) + math.log(order)) / (order - 1)


@given(
    noise=st.floats(0.8, 20),
    steps=st.integers(1, 50),
    order=st.floats(1.5, 60),
)
@settings(deadline=None)
def test_filter_adds_up_the_gaussian_divergence(noise, steps, order) -> None:
    found = rdp_filter.divergence([gaussian(noise, steps)] * 2, order)
    assert math.isclose(found, 2 * steps * order / (2 * noise**2), rel_tol=1e-9)
    epsilon = rdp_filter.epsilon_filter([gaussian(noise, steps)], 1e-6, order)
    expected = naive_epsilon(steps * order / (2 * noise**2), order, 1e-6)
    assert math.isclose(epsilon, max(0, expected), rel_tol=1e-9, abs_tol=1e-9)


@pytest.mark.parametrize("rate", [0.01, 0.2, 1.0])
def test_two_libraries_agree_on_the_filter(rate) -> None:
    mechanisms = [gaussian(1.3, 7, rate), gaussian(2.0, 30, rate)]
    order = rdp_filter.open_filter(mechanisms, epsilon=6, delta=5e-6).order
    one = rdp_filter.epsilon_filter(mechanisms, 5e-6, order)
    other = rdp_filter.epsilon_filter_check(mechanisms, 5e-6, order)
    assert math.isclose(one, other, rel_tol=1e-3)


@pytest.mark.parametrize("rate", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_the_filters_order_admits_most_of_the_first_release(epsilon, rate) -> None:
    first = [gaussian(1.3, 1, rate)]
    chosen = rdp_filter.open_filter(first, epsilon=epsilon, delta=1e-6)
    assert math.isclose(chosen.budget, epsilon - naive_epsilon(0, chosen.order, 1e-6))
    admitted = {
        order: (epsilon - naive_epsilon(0, order, 1e-6)) / rdp_filter.divergence(first, order)
        for order in np.geomspace(1.2, 400, 120)
    }
    assert chosen.budget / rdp_filter.divergence(first, chosen.order) > 0.97 * max(
        admitted.values()
    )


def test_a_budget_below_what_a_filter_needs_is_refused() -> None:
    with pytest.raises(PrivacyError, match="what a Rényi filter needs"):
        rdp_filter.open_filter([gaussian(1, 1)], epsilon=1e-4, delta=1e-9)


def test_a_mix_adds_a_planned_half_and_an_adaptive_half() -> None:
    planned, adaptive = [gaussian(4.0, 3)], [gaussian(5.0, 2)]
    fixed = rdp_filter.open_filter(adaptive, epsilon=5, delta=5e-6)
    both = compose_spending(planned, adaptive, delta=1e-5, filter=fixed)
    half = epsilon_gaussian(planned, 5e-6)
    rdp = 2 * fixed.order / (2 * 25)
    assert math.isclose(both.epsilon, half + naive_epsilon(rdp, fixed.order, 5e-6), rel_tol=1e-9)
    assert math.isclose(both.epsilon_check, both.epsilon, abs_tol=0.01)
    alone = compose_spending(planned, (), delta=1e-5, filter=None)
    assert math.isclose(alone.epsilon, epsilon_gaussian(planned, 1e-5), rel_tol=1e-12)


def test_adaptive_rounds_stop_when_the_filter_is_full(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    full_run(ledger)
    ledger.reserve(request(1, run="adaptive"))
    fixed = ledger.chain.filter
    assert fixed is not None
    # by hand: planned at delta / 2, the rest to one order, rounds of mu^2 = 1 / 16
    left = 8.0 - max(epsilon_pair(PLAN, 5e-6))
    budget = left - naive_epsilon(0, fixed.order, 5e-6)
    fit = math.floor(budget / (fixed.order / (2 * 16)))
    for number in range(2, fit + 1):
        ledger.reserve(request(number, run="adaptive"))
    with pytest.raises(PrivacyError, match="in which 0 such runs fit, or 0 releases of dp-sgd"):
        ledger.reserve(request(fit + 1, run="adaptive"))
    assert ledger.spent().bound <= 8.0
    assert all(
        r.body.filter == fixed
        for r in ledger.chain.reservations.values()
        if r.body.planning == "adaptive"
    )


def test_adaptive_costs_more_than_the_same_rounds_planned() -> None:
    rounds = [gaussian(4.0, 12)]
    fixed = rdp_filter.open_filter(rounds, epsilon=8, delta=5e-6)
    adaptive = compose_spending((), rounds, delta=1e-5, filter=fixed).bound
    assert adaptive > compose_spending(rounds, (), delta=1e-5, filter=None).bound


def test_recorded_epsilons_are_those_of_everything_up_to_there(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    for number in range(3):
        ledger.reserve(counts(f"r{number}", planning="planned"))
    for number, reserved in enumerate(ledger.chain.reservations.values(), start=1):
        pair = epsilon_pair(PLAN * number, 1e-5)
        assert (reserved.body.epsilon, reserved.body.epsilon_check) == pair


def test_prv_and_pld_agree_within_two_thousandths() -> None:
    mechanisms = [gaussian(2.0, 50, 0.1), gaussian(6.0, 1)]
    prv = epsilon_prv(mechanisms, 1e-5, eps_error=1e-3)
    assert abs(prv - epsilon_pld(mechanisms, 1e-5, grid=1e-4)) < 0.002


def test_status_says_what_is_left_by_hand(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    full_run(ledger, rounds=2)
    ledger.reserve(request(3))
    account = budget_status(ledger.chain, now=START)
    assert math.isclose(account.epsilon, max(epsilon_pair(PLAN, 1e-5)))
    assert math.isclose(account.remaining, 8 - account.epsilon)
    assert (account.runs, account.releases, account.uncommitted) == (1, 3, 1)
    assert account.rounds_reserved == 1
    # whatever begins now may depend on what was released
    left = 8 - max(epsilon_pair(PLAN, 5e-6))
    fixed = rdp_filter.open_filter([gaussian(4.0, 1)], epsilon=left, delta=5e-6)
    assert account.rounds_left == math.floor(fixed.budget / (fixed.order / (2 * 16)))
    whole = fixed.order * (4 / (2 * 16) + 1 / (2 * 36))
    assert account.runs_left == math.floor(fixed.budget / whole)
    assert account.alerts == ()
    assert json.dumps(account.to_json())


def test_status_of_a_window_forgets_what_is_older(tmp_path) -> None:

    limits = LifetimeLimits(epsilon=8, delta=1e-5, window_days=30, window_epsilon=6)
    ledger = open_ledger(tmp_path, limits=limits)
    full_run(ledger)
    now = budget_status(ledger.chain, now=START + timedelta(days=1))
    later = budget_status(ledger.chain, now=START + timedelta(days=31))
    assert now.window_epsilon == now.epsilon == later.epsilon
    assert later.window_epsilon == 0


def test_a_user_of_several_shops_pays_for_all_of_them(tmp_path) -> None:
    shops = [open_ledger(tmp_path, name) for name in ("a", "b", "c")]
    for shop in shops:
        full_run(shop)
    chains = [shop.chain for shop in shops]
    joint = compose_shops(chains)
    assert math.isclose(joint.epsilon, max(epsilon_pair(PLAN * 3, 1e-5)))
    assert joint.delta == 1e-5
    assert compose_shops(chains[:1]).epsilon == shops[0].spent().bound
    shops[2].reserve(request(1, run="later"))
    mixed = compose_shops([shop.chain for shop in shops])
    assert math.isclose(mixed.delta, 1e-5)
    fixed = shops[2].chain.filter
    assert fixed is not None
    adaptive = naive_epsilon(fixed.order / 32, fixed.order, 5e-6)
    assert math.isclose(mixed.epsilon, max(epsilon_pair(PLAN * 3, 5e-6)) + adaptive)


def test_forecast_of_the_default_plan(tmp_path) -> None:
    settings_ = RunSettings()
    found = forecast_plan(settings_, n_users=300)
    noise = calibrate(
        epsilon=8,
        delta=1e-6,
        steps=8,
        sample_rate=1,
        max_grad_norm=0.01,
        counts_share=0.2,
        pairs_share=0.6,
        adapter_share=0.2,
        counts_max_norm=1,
        pairs_max_norm=1,
    )
    assert found.mechanisms == noise
    assert {row["rounds"]: row["noise_multiplier"] for row in found.what_if}[8] == (
        noise[0].noise_multiplier
    )
    epsilons = [row["epsilon"] for row in found.what_if]
    assert epsilons == sorted(epsilons)
    step = found.noise_and_signal
    assert step.parameters == 256 * 32
    expected = noise[0].noise_multiplier * 8192**0.5 / 300  # sigma C sqrt(parameters) / (C n)
    assert step.ratio is not None
    assert math.isclose(step.ratio, expected)
    ledger = open_ledger(tmp_path, limits=LifetimeLimits(epsilon=8, delta=1e-6))
    assert forecast_plan(settings_, n_users=300, chain=ledger.chain).fits
    full_run(ledger)
    late = forecast_plan(settings_, n_users=300, chain=ledger.chain)
    assert (late.fits, late.fits_adaptive) == (False, False)
    assert late.runs_left == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"privacy": {"delta": 0.01}},
            "delta=0.01 must be at most 1e-06, one over ten times max_shop_users=100000",
        ),
        ({"privacy": {"epsilon": 0.01}}, "epsilon=0.01 must be between 0.05"),
        ({"privacy": {"epsilon": None}}, "give --epsilon"),
        ({"training": {"sample_rate": 0.001}}, "less than 1 user a step"),
    ],
)
def test_plans_that_cannot_be_met_say_why(changes, message) -> None:
    with pytest.raises(PrivacyError, match=message):
        forecast_plan(RunSettings.model_validate(changes), n_users=300)


def test_statement_holds_what_guidelines_and_registry_ask(tmp_path) -> None:
    ledger = open_ledger(tmp_path, "shop <b>&|")
    ledger.commit(ledger.reserve(request(1, repeatable=True)), "1" * 64)
    path = Path(ledger._writer.files.ledger)
    chain, torn = read_ledger(path)
    account = budget_status(chain, now=START, torn=torn)
    found = statement(chain, account, verify(path, Evidence()))
    asked = found["nist_sp_800_226"]
    for question in ("unit of privacy", "neighbouring data sets", "trust model", "not protected"):
        assert asked[question]
    assert asked["privacy parameter epsilon"] == round(account.epsilon, 6)
    assert "a simulation" in asked["randomness"]
    deployment = found["registry"]["deployment"]
    assert deployment["privacy_loss"]["privacy_parameters"] == {
        "epsilon": account.epsilon,
        "delta": 1e-5,
    }
    assert set(deployment) >= {"dp_flavor", "privacy_loss", "model", "accounting", "implementation"}
    assert "(2.114, 1e-05)-differentially private" in found["guarantee"]
    html, markdown = to_html([found]), to_markdown([found])
    assert "shop &lt;b&gt;" in html
    assert "<b>" not in html
    assert "http-equiv" in html
    assert "src=" not in html
    for text in ("2.114", "dp-sgd", "add or remove one user"):
        assert text in html
        assert text in markdown
    json.dumps(found, allow_nan=False)
