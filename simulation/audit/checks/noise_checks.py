"""Is what leaves a shop noisy as claimed: every number of every release, alone and together.

Noise is what is left of a reply when the clean sum is taken off. That sum is known exactly: users
without history add nothing, and what others add is the difference of two replies with one key of
the noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from scipy.stats import chi2

from client.federation.shop_node import RandomFactory
from shared.protocol.messages import Plan
from simulation.audit.checks.audited_shop import (
    COUNTS,
    ITEMS,
    PAIRS,
    AuditedShop,
    AuditUser,
    Question,
    audited_head,
    questions_of,
    record_of,
    seeded_once,
)
from simulation.audit.checks.residual_tests import (
    Residual,
    dependence_p_values,
    named,
    noise_p_values,
    of_kind,
    pooled_p_values,
    smallest,
)
from simulation.audit.checks.result import Finding
from simulation.audit.checks.subject import Subject
from simulation.runs.saved_releases import planned_variance

ALARM = 1e-3
"""Probability that a check fails on honest code, over all of its tests."""
ROUNDS, FEW_ROUNDS = 32, 4
"""Rounds at most that are asked for, from the first to the last of the plan: of the plan as it is,
and of each of its variations."""
STEPS = 3
"""Steps in one release, to see that each has noise of its own."""
SPARSE_RATE = 0.1
"""Rate at which most steps of a few users are empty."""
LONG_CATALOGUE, LONG_HEAD = 100_000, 1_000
"""Items of the release of counts, and of the largest head, that is tested over its whole length."""
NOBODY = (AuditUser(),) * 3
"""Users without history, who add nothing to any release."""
BUYERS = tuple(AuditUser((2 * i, 2 * i + 1)) for i in range(9))
"""Users of two items, whose examples are the same whatever is drawn."""
KINDS = {"training": "dp-sgd", COUNTS: "item-counts", PAIRS: "pair-sums"}


def check_noise(subject: Subject) -> Finding:
    """Tests the noise of every release: size, form, low bits, quiet shares, and over time."""
    residuals = [*short_residuals(subject), *_long_residuals(subject)]
    tests: dict[str, float] = {}
    for residual in residuals:
        tests |= named(residual.name, noise_p_values(residual))
    figures: dict[str, Any] = {}
    for kind in KINDS:
        same = of_kind(residuals, kind)
        if same:
            tests |= named(kind, pooled_p_values(same))
            figures[kind] = _size_figures(subject, kind, same)
    figures |= _oddest(tests)
    sizes = "; ".join(
        f"{kind} {f['claimed_noise_multiplier']:.4g}{_share(subject)} claimed, "
        f"{f['measured_noise_multiplier']:.4g} measured"
        for kind, f in figures.items()
        if kind in KINDS
    )
    if figures["p"] < ALARM:
        return Finding(False, f"{figures['oddest']}: p = {figures['p']:.1g}; {sizes}", figures)
    numbers = sum(len(r.numbers) for r in residuals)
    return Finding(True, f"noise multiplier: {sizes} ({numbers:,} numbers)", figures)


def check_independence(subject: Subject) -> Finding:
    """Tests that no release, round or shop shares noise with another, and that no seed gives it."""
    residuals = short_residuals(subject)
    figures = _oddest(dependence_p_values(residuals))
    figures["repeatable"] = subject.noise("independence").repeatable
    if figures["repeatable"]:
        text = "the noise can be drawn again: whoever knows the seed can subtract it"
        return Finding(False, text, figures)
    if figures["p"] < ALARM:
        text = f"noise is used again: {figures['oddest']}: p = {figures['p']:.1g}"
        return Finding(False, text, figures)
    return Finding(True, f"{len(residuals)} releases, each pair of them at every shift", figures)


def short_residuals(subject: Subject) -> list[Residual]:
    """Asks for all that a plan releases, in several ways, and returns the noise of each.

    As planned and accounted, of users without history; with buyers whose clean sums are known; with
    so few users that most steps are empty; with several steps in a release; and as a simulation
    draws it, from a seed, for two shops.
    """
    plan, key = subject.plan, seeded_once()
    once = plan.model_copy(update={"local_steps": 1})
    whole = once.model_copy(update={"sample_rate": 1.0})
    every, asked = (questions_of(plan, rounds=n) for n in (ROUNDS, FEW_ROUNDS))
    rounds = [question for question in asked if isinstance(question, int)]
    own = subject.randomness
    seeded = _shop(subject, whole, NOBODY, key).releases(asked)
    quiet = _shop(subject, whole, (AuditUser(),) * len(BUYERS), key).releases(asked)
    clean = {
        question: numbers - quiet[question]
        for question, numbers in _shop(subject, whole, BUYERS, key).releases(asked).items()
    }
    noisy = _shop(subject, whole, BUYERS, own).releases(asked)
    groups: dict[str, tuple[Plan, dict[Question, Any]]] = {
        "as planned": (plan, _shop(subject, plan, NOBODY, own, accounted=True).releases(every)),
        "with buyers": (whole, {q: noisy[q] - clean[q] for q in asked}),
        "of a seed": (whole, seeded),
        "of another shop": (
            whole,
            _shop(subject, whole, NOBODY, key, shop_id="audit-2").releases(asked),
        ),
    }
    if rounds:
        sparse = once.model_copy(update={"sample_rate": min(plan.sample_rate, SPARSE_RATE)})
        groups["of few users"] = (sparse, _shop(subject, sparse, NOBODY, own).releases(rounds))
        if plan.noise_shops == 1:  # else one step is all that a shop takes
            steps = plan.model_copy(update={"local_steps": STEPS})
            groups["of steps"] = (steps, _shop(subject, steps, NOBODY, own).releases(rounds[:2]))
    return [
        residual for name, (sent, found) in groups.items() for residual in _named(name, sent, found)
    ]


def _long_residuals(subject: Subject) -> list[Residual]:
    """Asks for statistics of a long catalogue and the plan's head; nobody is in the shop."""
    plan = subject.plan
    head = min(LONG_HEAD, plan.head_items)
    asked = questions_of(plan, rounds=0)
    shop = _shop(subject, plan, (), subject.randomness, n_items=LONG_CATALOGUE, head=head)
    return list(_named("at full length", plan, shop.releases(asked)))


def _shop(
    subject: Subject,
    plan: Plan,
    users: Sequence[AuditUser],
    randomness: RandomFactory,
    **changes: Any,
) -> AuditedShop:
    shop = AuditedShop(
        plan, users, randomness, head=audited_head(subject), device=subject.device, n_items=ITEMS
    )
    return replace(shop, **changes)


def _named(name: str, plan: Plan, releases: dict[Question, Any]) -> Iterator[Residual]:
    for question, numbers in releases.items():
        kind = "training" if isinstance(question, int) else question
        what = f"round {question}" if isinstance(question, int) else question
        variance = planned_variance(plan, record_of(question))
        yield Residual(f"{what} {name}", kind, numbers, variance)


def _size_figures(subject: Subject, kind: str, residuals: Sequence[Residual]) -> dict[str, Any]:
    """Returns claimed and measured noise; `at_most` holds in 99% of audits."""
    (mechanism,) = (m for m in subject.mechanisms if m.name == KINDS[kind])
    claimed = mechanism.own_noise_multiplier
    n = sum(len(r.numbers) for r in residuals)
    total = sum(float(r.deviations @ r.deviations) for r in residuals)
    return {
        "claimed_noise_multiplier": claimed,
        "measured_noise_multiplier": claimed * math.sqrt(total / n),
        "noise_multiplier_at_most": claimed * math.sqrt(total / float(chi2.ppf(0.01, n))),
        "shared_by": mechanism.shared_by,
        "numbers": n,
    }


def _share(subject: Subject) -> str:
    shops = subject.plan.noise_shops
    return f" (one of {shops} shares)" if shops > 1 else ""


def _oddest(tests: dict[str, float]) -> dict[str, Any]:
    name, p = smallest(tests)
    return {"oddest": name, "p": p, "tests": len(tests)}
