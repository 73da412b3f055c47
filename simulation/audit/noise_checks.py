"""Is the noise really there: training steps, item counts and pair sums against claimed curves.

Where shops share their noise, what is tested is the share that one shop adds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from client.shop_node import ShopNode
from client.training.trainer import StepSpec
from shared.config import ModelSettings
from shared.errors import PrivacyError
from shared.interactions.events import Events
from shared.messages import CodesArray
from shared.privacy.accounting import epsilon_pair
from shared.privacy.guarantee import Mechanism
from shared.privacy.noise import RandomSource
from shared.releases.pairs import n_pairs
from simulation.audit.rejection import CONFIDENCE, Rejection, Samples, reject_claim
from simulation.audit.result import Finding
from simulation.audit.shop import audit_node
from simulation.audit.subject import Subject
from simulation.audit.watch import watch_training

WIDTH = 512
"""Canaries in one model; half of them take part."""
TARGET_MU = 2.0
"""Releases are added up until their claimed mu is about this: there, shortfalls show best."""
MOST_RELEASES = 16
"""Releases that are added up at most; bounds the time."""


def check_training_noise(subject: Subject) -> Finding:
    """Rejects the claimed curve of training steps if the noise is short or the clip too wide.

    Full-batch steps on canaries, a few added up; how users are sampled is another check.
    """
    training = subject.training
    if training is None:
        return Finding(True, "the plan trains nothing", {})
    releases = releases_for(training.own_noise_multiplier)
    blocks = math.ceil(subject.canaries / WIDTH)
    took_part = subject.choice("training-noise").permutation(WIDTH)[: WIDTH // 2]
    watched = watch_training(
        step_spec(subject, steps=blocks * releases, sample_rate=1.0, physical_batch=WIDTH // 2),
        canary_of=np.sort(took_part),
        n_canaries=WIDTH,
        random=subject.noise("training-noise", 0),
        device=subject.device,
    )
    seen = len(watched.moves)
    if seen != blocks * releases:
        return Finding(False, f"{blocks * releases} steps were asked for, {seen} took place", {})
    scores = watched.scores.reshape(blocks, releases, WIDTH).sum(axis=1)
    absent = np.delete(scores, took_part, axis=1).ravel()
    return _judge(subject, training, absent, scores[:, took_part].ravel(), releases)


def check_counts_noise(subject: Subject) -> Finding:
    """Rejects the claimed curve of the item counts if the noise is short or users weigh too much.

    A canary is a user who buys two items, each twice, that nobody else buys.
    """
    if subject.counts is None:
        return Finding(True, "the plan releases no item counts", {})
    releases = releases_for(subject.counts.own_noise_multiplier)
    took_part = subject.choice("counts-noise").permutation(subject.canaries) < subject.canaries // 2
    node = _counting_shop(subject, np.flatnonzero(took_part))
    total = np.zeros(subject.canaries)
    for _ in range(releases):
        counts = node.counts(plan=subject.plan).astype(np.float64)
        total += counts.reshape(-1, 2).sum(axis=1) / math.sqrt(2)
    return _judge(subject, subject.counts, total[~took_part], total[took_part], releases)


def check_pairs_noise(subject: Subject) -> Finding:
    """Rejects the claimed curve of the pair sums if the noise is short or users weigh too much.

    Every pair of a small head is a canary: a user who bought these two items, each twice, and
    nothing else, which puts norm 1 on one coordinate. What a user with many pairs can do is the
    difference of two releases with the same noise, with that user and without.
    """
    if subject.pairs is None:
        return Finding(True, "the plan releases no pair sums", {})
    releases = releases_for(subject.pairs.own_noise_multiplier)
    head = np.arange(_head_for(subject))
    canaries = n_pairs(len(head))
    blocks = math.ceil(subject.canaries / canaries)
    effect = max(_effect_of_a_buyer(subject, head[:size]) for size in (3, len(head)))
    if effect > 1.001:
        text = f"one user moves the pair sums by {effect:.4g}, more than their norm of 1"
        return Finding(False, text, {"effect_over_norm": effect})
    absent, present = [], []
    for block in range(blocks):
        took_part = subject.choice(f"pairs-noise-{block}").random(canaries) < 0.5
        node = _pairing_shop(subject, head, took_part)
        total = np.zeros(canaries)
        for _ in range(releases):
            total += node.pairs(plan=subject.plan, head=head).astype(np.float64)
        absent.append(total[~took_part])
        present.append(total[took_part])
    return _judge(subject, subject.pairs, np.concatenate(absent), np.concatenate(present), releases)


def _head_for(subject: Subject) -> int:
    """Items of the audited head: at most the plan's, and no more pairs than canaries."""
    fits = int((1 + math.sqrt(1 + 8 * subject.canaries)) / 2)
    return max(2, min(fits, subject.plan.head_items))


def _pairing_shop(
    subject: Subject, head: CodesArray, took_part: np.ndarray[Any, np.dtype[np.bool_]]
) -> ShopNode:
    """A shop of one user for each pair that takes part."""
    first, second = (codes[took_part] for codes in np.triu_indices(len(head), 1))
    item = np.stack([first, second, first, second], axis=1).ravel()
    user = np.repeat(np.arange(len(first)), 4)
    events = Events.build(user=user, item=item, time=np.zeros(len(item)))
    vectors = np.zeros((len(head), 2), np.float32)
    return audit_node(
        subject,
        events=events,
        n_users=len(first),
        item_vectors=vectors,
        settings=ModelSettings(),
    )


def _effect_of_a_buyer(subject: Subject, bought: CodesArray) -> float:
    """L2 distance of two releases with equal noise, with a user who bought these or nobody."""
    head = np.arange(_head_for(subject))
    releases = []
    for item in (bought, bought[:0]):
        node = audit_node(
            subject,
            events=Events.build(user=np.zeros(len(item)), item=item, time=np.zeros(len(item))),
            n_users=len(item[:1]),
            item_vectors=np.zeros((len(head), 2), np.float32),
            settings=ModelSettings(),
            randomness=RandomSource.from_seed,
        )
        releases.append(node.pairs(plan=subject.plan, head=head).astype(np.float64))
    return float(np.linalg.norm(releases[0] - releases[1]))


def releases_for(noise_multiplier: float) -> int:
    """Returns how many releases to add up."""
    return min(max(1, round((TARGET_MU * noise_multiplier) ** 2)), MOST_RELEASES)


def step_spec(subject: Subject, **changes: Any) -> StepSpec:
    """Returns the plan's steps as a shop takes them, with changes."""
    plan = subject.plan
    spec = StepSpec(
        steps=plan.local_steps,
        sample_rate=plan.sample_rate,
        divisor=plan.divisor,
        max_grad_norm=plan.max_grad_norm,
        noise_multiplier=plan.own_noise(plan.noise_multiplier),
        learning_rate=plan.learning_rate,
        physical_batch=plan.physical_batch,
        bf16=subject.device.type == "cuda",
    )
    return replace(spec, **changes)


def _counting_shop(subject: Subject, users: Sequence[int] | np.ndarray[Any, Any]) -> ShopNode:
    """A shop whose users `u` bought items `2u` and `2u + 1` twice each."""
    codes = np.repeat(np.asarray(users), 4)
    events = Events.build(
        user=np.repeat(np.arange(len(users)), 4),
        item=2 * codes + np.tile([0, 0, 1, 1], len(users)),
        time=np.zeros(len(codes)),
    )
    vectors = np.zeros((2 * subject.canaries, 2), np.float32)
    return audit_node(
        subject, events=events, n_users=len(users), item_vectors=vectors, settings=ModelSettings()
    )


def _judge(
    subject: Subject, mechanism: Mechanism, absent: Samples, present: Samples, releases: int
) -> Finding:
    """Puts the test's outcome into words, and into the epsilon of the whole plan."""
    claimed = mechanism.own_noise_multiplier
    test = reject_claim(absent, present, mu=math.sqrt(releases) / claimed)
    at_most = math.sqrt(releases) / test.mu_low if test.mu_low > 0 else math.inf
    figures = {
        "claimed_noise_multiplier": claimed,
        "measured_noise_multiplier": math.sqrt(releases) / max(test.mu_measured, 1e-9),
        "noise_multiplier_at_most": at_most if math.isfinite(at_most) else None,
        "epsilon_at_least": _epsilon_at(subject, mechanism, at_most),
        "shared_by": mechanism.shared_by,
        "canaries": len(absent) + len(present),
        "releases_added_up": releases,
        "confidence": CONFIDENCE,
        **_plain(test),
    }
    share = f" (one of {mechanism.shared_by} shares)" if mechanism.shared_by > 1 else ""
    bound = f"noise multiplier {claimed:.4g}{share} claimed, at most {at_most:.4g} measured"
    if test.rejected:
        return Finding(False, f"{bound}: noise is short or one user counts for too much", figures)
    return Finding(True, f"{bound} ({len(absent) + len(present):,} canaries)", figures)


def _epsilon_at(subject: Subject, mechanism: Mechanism, noise: float) -> float | None:
    """Epsilon of the plan if every share of a mechanism's noise were this; None where unknown."""
    if not math.isfinite(noise):
        return None
    changed = [
        replace(m, noise_multiplier=noise * math.sqrt(m.shared_by))
        if m.name == mechanism.name
        else m
        for m in subject.mechanisms
    ]
    try:
        return epsilon_pair(changed, subject.delta)[0]
    except PrivacyError:
        return None


def _plain(test: Rejection) -> dict[str, Any]:
    """The outcome for JSON, with the curve in columns."""
    content = asdict(test)
    curve = content.pop("curve")
    return {**content, "curve": {key: [point[key] for point in curve] for key in curve[0]}}
