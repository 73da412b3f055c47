"""The one-run audit of a throw-away model: a lower bound for epsilon."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shared.errors import PrivacyError
from shared.privacy.accounting import epsilon_pair
from simulation.audit.noise_checks import step_spec
from simulation.audit.one_run import count_correct, epsilon_low_f_dp, epsilon_low_steinke
from simulation.audit.result import Finding
from simulation.audit.subject import Subject
from simulation.audit.watch import watch_training

MOST_STEPS = 1_000
"""Steps at most; a lower bound for the first steps of a plan is one for all of it."""


def check_one_run(subject: Subject) -> Finding:
    """Trains once on canaries that take part by a coin, guesses the coins, and bounds epsilon.

    Fails if the bound is above the epsilon that is claimed for the training steps.
    """
    training = subject.training
    if training is None:
        return Finding(True, "the plan trains nothing", {})
    steps = min(training.steps, MOST_STEPS)
    mechanism = replace(training, steps=steps, noise_multiplier=training.own_noise_multiplier)
    try:
        claimed = epsilon_pair((mechanism,), subject.delta)[0]
    except PrivacyError:
        return Finding(True, "one shop's share of the noise is too little to bound epsilon", {})
    m = subject.one_run_canaries
    took_part = subject.choice("one-run").random(m) < 0.5
    watched = watch_training(
        step_spec(subject, steps=steps),
        canary_of=np.flatnonzero(took_part),
        n_canaries=m,
        random=subject.noise("one-run", 0),
        device=subject.device,
    )
    guesses, correct = count_correct(watched.scores.sum(axis=0), took_part)
    low, factor = epsilon_low_f_dp(m, guesses, correct, mechanism=mechanism, delta=subject.delta)
    plain = epsilon_low_steinke(m, guesses, correct, subject.delta)
    figures = {
        "epsilon_claimed": claimed,
        "epsilon_low": low,
        "epsilon_low_steinke": plain,
        "noise_factor_refuted": factor,
        "canaries": m,
        "guesses": guesses,
        "correct": correct,
        "steps": steps,
        "confidence": 0.95,
    }
    of = " for one share of the noise" if training.shared_by > 1 else ""
    bound = f"epsilon is at least {low:.2f} of {claimed:.2f} claimed{of}"
    text = f"{bound} ({plain:.2f} by Steinke et al.)"
    return Finding(max(low, plain) <= claimed + 0.01, text, figures)
