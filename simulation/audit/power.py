"""How often the test of training noise catches a fault, and how often it cries wolf."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from dp_accounting.gaussian_mechanism import get_sigma_gaussian

from shared.config import PrivacySettings, RunSettings, TrainingSettings
from shared.privacy.calibration import round_up
from shared.privacy.guarantee import Mechanism
from simulation.audit.faults import planted
from simulation.audit.run import run_audit
from simulation.audit.subject import Subject
from simulation.audit.subjects import subject_of_settings

DELTA = 1e-5
SHORTFALLS = (
    (1.0, "noise 20% short"),
    (4.0, "noise 5% short"),
    (8.0, "noise 5% short"),
    (8.0, "noise at a third"),
    (8.0, "clip norm doubled"),
)
"""Epsilon and fault for which power is measured."""


@dataclass(frozen=True)
class Power:
    """How often one fault was caught.

    Attributes:
        epsilon: Claimed for the audited step.
        fault: Name in `simulation.audit.faults.FAULTS`; `none` for honest code.
        caught: Audits that failed.
        runs: Audits in all.
        seconds: Mean wall time of one.
    """

    epsilon: float
    fault: str
    caught: int
    runs: int
    seconds: float


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


def measure(epsilon: float, fault: str, *, runs: int) -> Power:
    """Audits the training noise `runs` times with a fault planted, fresh noise each time."""
    subject, caught = single_release(epsilon), 0
    start = time.perf_counter()
    with planted(fault):
        for seed in range(runs):
            caught += not run_audit(replace(subject, seed=seed), checks=["training-noise"]).passed
    return Power(epsilon, fault, caught, runs, (time.perf_counter() - start) / runs)


def measure_power(*, runs: int = 20) -> tuple[Power, ...]:
    """Measures all of `SHORTFALLS`."""
    return tuple(measure(epsilon, fault, runs=runs) for epsilon, fault in SHORTFALLS)


def measure_false_alarms(*, runs: int = 100) -> Power:
    """Audits honest code at epsilon 8."""
    return measure(8.0, "none", runs=runs)


def measure_one_run(*, epsilon: float = 4.0, steps: int = 20) -> tuple[float, float, float]:
    """Returns `(f-DP bound, Steinke bound, seconds)` of one run at a true epsilon."""
    check = run_audit(single_release(epsilon, steps=steps), checks=["one-run"]).checks[0]
    return check.figures["epsilon_low"], check.figures["epsilon_low_steinke"], check.seconds
