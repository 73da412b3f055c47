"""How often the audit notices a planted fault, and how often it is wrong about honest code."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dp_accounting.gaussian_mechanism import get_sigma_gaussian
from scipy.stats import beta

from shared.privacy.accounting.calibration import round_up
from shared.privacy.accounting.guarantee import Mechanism
from shared.settings.run_settings import PrivacySettings, RunSettings, TrainingSettings
from simulation.audit.checks.subject import Subject, subject_of_settings
from simulation.audit.fault_detection import FAULTS, with_fault
from simulation.audit.run import CHECKS, run_audit

DELTA = 1e-5
SHORTFALLS = ((1.0, "noise 5% short"), (4.0, "noise 5% short"))
"""Epsilon and fault for which power is measured beside that of all faults at epsilon 8."""


@dataclass(frozen=True)
class DetectionRate:
    """How often one fault was caught.

    Attributes:
        epsilon: Claimed for the audited plan.
        fault: Name in `FAULTS`; `none` for honest code.
        caught: Audits that failed.
        runs: Audits in all.
        seconds: Mean wall time of one.
    """

    epsilon: float
    fault: str
    caught: int
    runs: int
    seconds: float

    @property
    def power_at_least(self) -> float:
        """Lower bound of the power at 95% confidence (Clopper and Pearson)."""
        missed = self.runs - self.caught
        return float(beta.ppf(0.05, self.caught, missed + 1)) if self.caught else 0.0


def audited_plan(epsilon: float, *, sample_rate: float = 1.0) -> Subject:
    """Returns the default plan at an epsilon and delta 1e-5."""
    settings = RunSettings(
        training=TrainingSettings(sample_rate=sample_rate),
        privacy=PrivacySettings(epsilon=epsilon, delta=DELTA),
    )
    return subject_of_settings(settings)


def single_release(epsilon: float, *, steps: int = 1) -> Subject:
    """Returns a plan whose full-batch training steps alone cost epsilon at delta 1e-5."""
    noise = round_up(get_sigma_gaussian(epsilon, DELTA) * steps**0.5)
    settings = RunSettings(
        training=TrainingSettings(rounds=steps),
        privacy=PrivacySettings(
            epsilon=epsilon, delta=DELTA, counts_share=0.0, pairs_share=0.0, adapter_share=1.0
        ),
    )
    training = Mechanism("dp-sgd", noise, 1.0, steps, settings.training.max_grad_norm)
    return subject_of_settings(settings, mechanisms=(training,))


def measure_detection(epsilon: float, fault: str, *, runs: int) -> DetectionRate:
    """Runs the check of a fault, or for `none` all, so often with new noise."""
    subject, caught = audited_plan(epsilon), 0
    checks = FAULTS[fault].checks or tuple(CHECKS)
    start = time.perf_counter()
    for seed in range(runs):
        with with_fault(fault):
            caught += not run_audit(replace(subject, seed=seed), checks=checks).passed
    return DetectionRate(epsilon, fault, caught, runs, (time.perf_counter() - start) / runs)


def measure_power(*, runs: int = 60) -> Iterator[DetectionRate]:
    """Measures all faults at epsilon 8, then `SHORTFALLS`."""
    for fault in FAULTS:
        if fault != "none":
            yield measure_detection(8.0, fault, runs=runs)
    for epsilon, fault in SHORTFALLS:
        yield measure_detection(epsilon, fault, runs=runs)


def measure_false_alarms(*, runs: int = 100) -> DetectionRate:
    """Audits honest code at epsilon 8, with all checks."""
    return measure_detection(8.0, "none", runs=runs)


def measure_one_run(*, epsilon: float = 4.0, steps: int = 20) -> tuple[float, float, float]:
    """Returns `(f-DP bound, Steinke bound, seconds)` of one run at a true epsilon."""
    check = run_audit(single_release(epsilon, steps=steps), checks=["one-run"]).checks[0]
    return check.figures["epsilon_low"], check.figures["epsilon_low_steinke"], check.seconds
