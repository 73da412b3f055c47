"""A small shop of the class that answers in production, and what leaves it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.stats import chi2

from client.shop_node import ShopNode
from shared.config import ModelSettings
from shared.interactions.events import Events
from shared.messages import Arrays, FloatArray
from shared.model.adapter import adapter_arrays, attach
from shared.model.profile_model import ProfileModel
from shared.model.whitening import Whitening
from shared.plan import Plan
from shared.privacy.noise import RandomSource
from simulation.audit.result import Finding
from simulation.audit.subject import Subject

DIM, ITEMS, UPDATES = 32, 64, 24
ALARM = 1e-6
"""Probability that a check of the noise itself fails on honest code."""
SETTINGS = ModelSettings(dim=DIM, rank=16, alpha=16.0, target_modules=("profile_projection",))


def check_shop_release(subject: Subject) -> Finding:
    """Tests the update as it leaves a shop: its noise, and what one user can do to it.

    The noise is measured in updates of a shop without users. The effect of a user is the
    difference of two updates with the same noise, of a shop with that user alone and without.
    """
    plan = subject.plan.model_copy(update={"local_steps": min(subject.plan.local_steps, 4)})
    unit = plan.learning_rate / plan.divisor
    claimed = subject.own_noise_multiplier * unit * math.sqrt(plan.local_steps)
    updates = [_flat(_train(subject, plan, users=0, round=i)) for i in range(UPDATES)]
    noise = np.concatenate(updates) / claimed
    ratio, short = deviation(noise)
    effect = _effect_of_a_user(subject, plan) / (unit * plan.local_steps)
    figures = {"noise_over_claimed": ratio, "effect_over_clip": effect, "numbers": len(noise)}
    text = f"noise is {ratio:.4f} of the claimed, one user moves at most {effect:.4f} of the clip"
    return Finding(not short and effect <= 1.001, text, figures)


def deviation(noise: FloatArray | np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, bool]:
    """Returns root mean square of noise that should be standard normal, and if it is too small."""
    total = float(np.square(noise, dtype=np.float64).sum())
    return math.sqrt(total / noise.size), bool(chi2.cdf(total, noise.size) < ALARM)


def audit_node(
    subject: Subject,
    *,
    events: Events,
    n_users: int,
    item_vectors: FloatArray,
    settings: ModelSettings = SETTINGS,
    **changes: Any,
) -> ShopNode:
    """Builds a shop with the audited randomness and a small base of its own."""
    whitening = Whitening(np.zeros(DIM, np.float32), np.eye(DIM, dtype=np.float32))
    parts: dict[str, Any] = {
        "shop_id": "audit",
        "events": events,
        "n_users": n_users,
        "item_vectors": item_vectors,
        "base": lambda: ProfileModel(whitening, text_space="audit"),
        "settings": settings,
        "randomness": subject.randomness,
        "device": subject.device,
    }
    return ShopNode(**{**parts, **changes})


def _train(
    subject: Subject,
    plan: Plan,
    *,
    users: int,
    round: int,  # noqa: A002
    **changes: Any,
) -> Arrays:
    """Returns the update of a shop whose users each bought 12 items."""
    rng = subject.choice("shop-release")
    vectors = rng.standard_normal((ITEMS, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    events = Events.build(
        user=np.repeat(np.arange(users), 12),
        item=rng.integers(0, ITEMS, 12 * users),
        time=np.tile(np.arange(12.0), users),
    )
    node = audit_node(subject, events=events, n_users=users, item_vectors=vectors, **changes)
    adapter = adapter_arrays(attach(node.base(), node.settings, seed=0))
    return node.train(adapter=adapter, plan=plan, round=round, candidates=np.arange(ITEMS))


def _effect_of_a_user(subject: Subject, plan: Plan) -> float:
    """Largest distance between updates with and without a user; full batch and equal noise."""
    whole = plan.model_copy(update={"sample_rate": 1.0})
    seeded = {"randomness": RandomSource.from_seed}
    with_user = _flat(_train(subject, whole, users=1, round=1, **seeded))
    without = _flat(_train(subject, whole, users=0, round=1, **seeded))
    return float(np.linalg.norm(with_user.astype(np.float64) - without))


def _flat(update: Arrays) -> FloatArray:
    return np.concatenate([update[name].ravel() for name in sorted(update)])
