"""Faults planted into the code that answers: each is caught by the checks that are named for it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import replace

import pytest

from client.federation.client_app import LOG
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.noise import RandomSource
from shared.settings.run_settings import PrivacySettings, RunSettings, TrainingSettings
from simulation.audit.checks.subject import Subject, subject_of_settings
from simulation.audit.detection_power import (
    audited_plan,
    measure_detection,
    measure_false_alarms,
    measure_one_run,
)
from simulation.audit.fault_detection import FAULTS, with_fault
from simulation.audit.run import CHECKS, run_audit


@pytest.fixture(autouse=True)
def _quiet_shop() -> Iterator[None]:
    """A faulty shop may refuse, and logs why."""
    level = LOG.level
    LOG.setLevel(logging.CRITICAL + 1)
    yield
    LOG.setLevel(level)


def subject(*, rate: float = 0.2, shared_by: int = 1) -> Subject:
    """A sampled plan of a few steps."""
    settings = RunSettings(
        training=TrainingSettings(rounds=8, sample_rate=rate),
        privacy=PrivacySettings(
            epsilon=8, delta=1e-5, noise="shop" if shared_by == 1 else "shared"
        ),
    )
    noise = (
        Mechanism("dp-sgd", 1.0, rate, 8, 0.01, shared_by),
        Mechanism("item-counts", 1.5, 1.0, 1, 1.0, shared_by),
        Mechanism("pair-sums", 1.5, 1.0, 1, 1.0, shared_by),
    )
    found = subject_of_settings(settings, mechanisms=noise)
    return replace(found, one_run_canaries=500)


def failed(fault: str, audited: Subject, checks: Collection[str] = tuple(CHECKS)) -> set[str]:
    with with_fault(fault):
        result = run_audit(audited, checks=checks)
    return {check.name for check in result.checks if not check.passed}


@pytest.mark.slow
@pytest.mark.parametrize("rate", [1.0, 0.2])
def test_honest_code_passes_every_check_within_a_minute(rate: float) -> None:
    result = run_audit(subject(rate=rate))
    assert [check.name for check in result.checks] == list(CHECKS)
    assert result.passed, [c.finding for c in result.checks if not c.passed]
    assert result.seconds < 60


QUICK = 10
"""Faults up to here are of structure, and tried in every run of the tests; the rest is older."""


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=pytest.mark.slow if place > QUICK else ())
        for place, fault in enumerate(FAULTS)
        if fault != "none"
    ],
)
def test_a_planted_fault_is_caught_by_its_checks(fault: str) -> None:
    checks = FAULTS[fault].checks
    assert checks
    assert failed(fault, subject(), checks) == set(checks)


@pytest.mark.slow
def test_a_reply_is_told_from_the_numbers_in_it() -> None:
    with with_fault("num-examples in the reply"):
        (check,) = run_audit(subject(), checks=["reply"]).checks
    assert "reply to counts: holds metrics" in check.finding
    assert failed("num-examples in the reply", subject(), ["one-user"]) == set()


@pytest.mark.slow
def test_the_number_of_users_shows_as_one_step_beyond_the_grid() -> None:
    with with_fault("number of users in a count"):
        (check,) = run_audit(subject(), checks=["one-user"]).checks
    assert check.figures["squares_above_grid"]["a user of one item: the item counts"] == 2**40 + 1


@pytest.mark.slow
def test_a_user_of_many_pairs_that_is_not_scaled_is_measured() -> None:
    with with_fault("users of pairs not scaled"):
        (check,) = run_audit(subject(), checks=["one-user"]).checks
    assert check.figures["largest_effect"] == pytest.approx((91 * 90 / 2) ** 0.5)


@pytest.mark.slow
def test_shared_noise_is_tested_for_the_share_of_one_shop() -> None:
    audited = subject(shared_by=4)
    result = run_audit(audited)
    assert result.passed, [c.finding for c in result.checks if not c.passed]
    check = result.check("noise")
    assert check is not None
    for kind, noise in (("training", 1.0), ("counts", 1.5), ("pairs", 1.5)):
        assert check.figures[kind]["claimed_noise_multiplier"] == pytest.approx(noise / 2)
        measured = check.figures[kind]["measured_noise_multiplier"]
        assert measured == pytest.approx(noise / 2, rel=0.02)
    assert "(one of 4 shares)" in check.finding
    for fault in ("pairs noise at a third", "counts noise at a third", "noise 5% short"):
        assert failed(fault, audited, ["noise"]) == {"noise"}


@pytest.mark.slow
@pytest.mark.parametrize(("shared_by", "tested"), [(1, 2), (4, 4), (57, 10)])
def test_under_masks_the_share_of_the_plan_is_tested(shared_by: int, tested: int) -> None:
    (check,) = run_audit(subject(shared_by=shared_by), checks=["masks"]).checks
    assert check.passed, check.finding
    assert check.figures["shared_by"] == tested
    assert check.figures["claimed_share"] == pytest.approx(tested**-0.5)
    assert check.figures["measured_share"] == pytest.approx(tested**-0.5, rel=0.02)
    assert check.seconds < 30


def test_noise_that_is_short_under_masks_alone_is_seen_twice() -> None:
    with with_fault("noise 5% short under masks"):
        masks, noise = run_audit(subject(), checks=["masks", "noise"]).checks
    assert noise.passed
    assert not masks.passed
    assert "the item counts under masks differ in" in masks.finding
    assert masks.figures["p"] < 1e-6
    assert masks.figures["measured_share"] == pytest.approx(0.95 * 0.5**0.5, rel=0.02)


@pytest.mark.slow
def test_a_plan_of_statistics_alone_is_audited_without_training() -> None:
    settings = RunSettings(
        privacy=PrivacySettings(counts_share=0.4, pairs_share=0.6, adapter_share=0)
    )
    audited = subject_of_settings(settings)
    assert [m.name for m in audited.mechanisms] == ["item-counts", "pair-sums"]
    result = run_audit(audited)
    assert result.passed, [c.finding for c in result.checks if not c.passed]
    idle = {check.name for check in result.checks if check.finding == "the plan trains nothing"}
    assert idle == {"one-run", "poisson"}


def test_faults_go_when_the_block_ends() -> None:
    for fault in FAULTS:
        with with_fault(fault):
            pass
    assert failed("none", subject(), ["poisson"]) == set()


def test_a_node_that_draws_from_a_seed_fails() -> None:
    seeded = replace(subject(), randomness=RandomSource.from_seed)
    (check,) = run_audit(seeded, checks=["independence"]).checks
    assert not check.passed
    assert check.figures["repeatable"] is True


def test_code_that_raises_has_failed_and_does_not_end_the_audit() -> None:
    def broken(*context: object) -> RandomSource:
        raise ZeroDivisionError(f"{context[2]}")

    result = run_audit(replace(subject(), randomness=broken), checks=["accounts", "poisson"])
    assert [check.passed for check in result.checks] == [True, False]
    assert result.checks[1].finding == "the audited code raised ZeroDivisionError: poisson"


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [1.0, 4.0, 8.0])
def test_noise_that_is_five_percent_short_is_caught_at_every_epsilon(epsilon: float) -> None:
    rate = measure_detection(epsilon, "noise 5% short", runs=3)
    assert rate.caught == 3
    assert rate.power_at_least == pytest.approx(0.05 ** (1 / 3))


@pytest.mark.slow
def test_false_alarms() -> None:
    assert measure_false_alarms(runs=5).caught == 0


@pytest.mark.slow
def test_one_run_gives_at_least_one_and_a_half_at_epsilon_four() -> None:
    low, steinke, seconds = measure_one_run()
    assert 1.5 < low < 4
    assert 0.8 < steinke < low
    assert seconds < 60


def test_an_audited_plan_is_the_default_one() -> None:
    assert [m.name for m in audited_plan(8.0).mechanisms] == ["dp-sgd", "item-counts", "pair-sums"]
