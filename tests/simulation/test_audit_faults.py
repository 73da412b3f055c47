"""Faults planted into the code that trains: each is caught by the check that is named for it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from shared.config import PrivacySettings, RunSettings, TrainingSettings
from shared.privacy.guarantee import Mechanism
from shared.privacy.noise import RandomSource
from simulation.audit.faults import FAULTS, planted
from simulation.audit.power import measure, measure_false_alarms, measure_one_run, single_release
from simulation.audit.run import CHECKS, run_audit
from simulation.audit.subject import Subject
from simulation.audit.subjects import subject_of_settings


def subject(*, rate: float = 0.2, shared_by: int = 1) -> Subject:
    """A sampled plan of a few steps; enough canaries for coarse faults."""
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
    return replace(found, canaries=6_000, one_run_canaries=500)


def failed(fault: str, audited: Subject, checks: Collection[str] = tuple(CHECKS)) -> set[str]:
    with planted(fault):
        result = run_audit(audited, checks=checks)
    return {check.name for check in result.checks if not check.passed}


@pytest.mark.parametrize("rate", [pytest.param(1.0, marks=pytest.mark.slow), 0.2])
def test_honest_code_passes_every_check(rate: float) -> None:
    result = run_audit(subject(rate=rate))
    assert [check.name for check in result.checks] == list(CHECKS)
    assert result.passed, [c.finding for c in result.checks if not c.passed]


CAUGHT = {
    "noise at a third": {"training-noise", "shop-release", "fresh-noise", "empty-batches"},
    "noise 5% short": {"shop-release", "fresh-noise", "empty-batches"},
    "clip norm doubled": {"training-noise", "shop-release"},
    "tensors clipped alone": {"training-noise"},
    "noise from a fixed seed": {"secret-noise"},
    "noise used again": {"fresh-noise"},
    "shuffled batches": {"poisson"},
    "batches of one size": {"poisson"},
    "a step not accounted": {"training-noise", "steps", "poisson"},
    "empty batches skipped": {"shop-release", "empty-batches"},
    "non-finite shows": {"non-finite"},
    "counts noise at a third": {"counts-noise"},
    "pairs noise at a third": {"pairs-noise"},
    "users of pairs not scaled": {"pairs-noise"},
}
"""Fault -> checks that must fail; others may, as a fault can show in several ways."""
UNTOUCHED = {"accounts", "secret-noise", "non-finite"}
"""Checks that no other fault than their own may fail."""


@pytest.mark.parametrize("fault", CAUGHT)
def test_a_planted_fault_is_caught_by_its_checks(fault: str) -> None:
    checks = CAUGHT[fault] | UNTOUCHED
    assert failed(fault, subject(), checks) == CAUGHT[fault]


def test_shared_noise_is_tested_for_the_share_of_one_shop() -> None:
    audited = subject(shared_by=4)
    result = run_audit(audited)
    assert result.passed, [c.finding for c in result.checks if not c.passed]
    found = {check.name: check for check in result.checks}
    for name, noise in (("training-noise", 1.0), ("counts-noise", 1.5), ("pairs-noise", 1.5)):
        assert found[name].figures["claimed_noise_multiplier"] == pytest.approx(noise / 2)
        assert found[name].figures["measured_noise_multiplier"] == pytest.approx(noise / 2, rel=0.1)
        assert "(one of 4 shares)" in found[name].finding
    assert failed("pairs noise at a third", audited, ["pairs-noise"]) == {"pairs-noise"}
    assert failed("counts noise at a third", audited, ["counts-noise"]) == {"counts-noise"}


def test_a_user_of_many_pairs_that_is_not_scaled_is_measured() -> None:
    with planted("users of pairs not scaled"):
        (check,) = run_audit(subject(), checks=["pairs-noise"]).checks
    head = (1 + (1 + 8 * 6_000) ** 0.5) // 2
    assert check.figures["effect_over_norm"] == pytest.approx((head * (head - 1) / 2) ** 0.5)


def test_a_plan_of_statistics_alone_is_audited_without_training() -> None:
    settings = RunSettings(
        privacy=PrivacySettings(counts_share=0.4, pairs_share=0.6, adapter_share=0)
    )
    audited = replace(subject_of_settings(settings), canaries=6_000)
    assert [m.name for m in audited.mechanisms] == ["item-counts", "pair-sums"]
    result = run_audit(audited)
    assert result.passed
    idle = {check.name for check in result.checks if check.finding == "the plan trains nothing"}
    assert idle == set(CHECKS) - {"accounts", "counts-noise", "pairs-noise", "secret-noise"}
    seeded = replace(audited, randomness=RandomSource.from_seed)
    assert failed("none", seeded, ["secret-noise"]) == {"secret-noise"}


def test_every_fault_is_listed() -> None:
    assert set(CAUGHT) | {"none", "noise 20% short"} == set(FAULTS)


def test_faults_go_when_the_block_ends() -> None:
    for fault in FAULTS:
        with planted(fault):
            pass
    assert failed("none", subject(), ["steps", "poisson", "secret-noise"]) == set()


@pytest.mark.parametrize("fault", ["noise at a third", "clip norm doubled"])
def test_the_test_of_the_curve_alone_catches_coarse_faults(fault: str) -> None:
    audited = replace(single_release(8.0), canaries=10_000)
    with planted(fault):
        result = run_audit(audited, checks=["training-noise"])
    assert not result.passed
    assert "noise is short or one user counts for too much" in result.checks[0].finding
    figures = result.checks[0].figures
    ratio = figures["measured_noise_multiplier"] / figures["claimed_noise_multiplier"]
    assert ratio == pytest.approx(1 / 3 if "third" in fault else 1 / 2, rel=0.15)


def test_five_percent_short_noise_refutes_the_curve() -> None:
    assert measure(8.0, "noise 5% short", runs=1).caught == 1


def test_a_node_that_draws_from_a_seed_fails() -> None:
    seeded = replace(subject(), randomness=RandomSource.from_seed)
    result = run_audit(seeded, checks=["secret-noise"])
    assert not result.passed
    assert result.checks[0].figures["repeatable"] is True


def test_code_that_raises_has_failed_and_does_not_end_the_audit() -> None:
    def broken(*context: object) -> RandomSource:
        raise ZeroDivisionError(f"{context[2]}")

    result = run_audit(replace(subject(), randomness=broken), checks=["steps", "non-finite"])
    assert [check.passed for check in result.checks] == [False, True]
    assert result.checks[0].finding == "the audited code raised ZeroDivisionError: steps"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("epsilon", "fault"),
    [(8.0, "noise 5% short"), (4.0, "noise 5% short"), (1.0, "noise 20% short")],
)
def test_power_of_the_curve_test(epsilon: float, fault: str) -> None:
    assert measure(epsilon, fault, runs=4).caught == 4


@pytest.mark.slow
def test_false_alarms_of_the_curve_test() -> None:
    assert measure_false_alarms(runs=20).caught <= 1


@pytest.mark.slow
def test_one_run_gives_at_least_one_and_a_half_at_epsilon_four() -> None:
    low, steinke, seconds = measure_one_run()
    assert 1.5 < low < 4
    assert 0.8 < steinke < low
    assert seconds < 60
