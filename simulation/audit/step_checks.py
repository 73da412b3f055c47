"""Is every step what the accountant thinks: fresh secret noise, counted, and nothing shown."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import kstest, norm

from shared.messages import CodesArray
from shared.privacy.noise import RandomSource
from simulation.audit.noise_checks import step_spec
from simulation.audit.result import Finding
from simulation.audit.shop import ALARM, deviation
from simulation.audit.subject import Subject
from simulation.audit.watch import Watched, watch_training

WIDTH, STEPS, BLOCKS = 2048, 32, 4
"""Canaries, steps, and blocks into which a step's noise is cut to compare it with all others."""
POISONS = (math.nan, math.inf, -math.inf, 1e38)
NOBODY: CodesArray = np.zeros(0, dtype=np.int64)


def check_fresh_noise(subject: Subject) -> Finding:
    """Tests that no noise is used twice, that it is normal, and that it is as large as claimed."""
    watched = _watch(subject, "fresh-noise", users=[0], steps=STEPS, width=WIDTH)
    noise = watched.moves[:, :, 1:-1]  # canary 0 takes part
    noise = noise / subject.own_noise_multiplier
    blocks = noise.reshape(len(noise) * BLOCKS, -1)
    largest, allowed = _largest_correlation(blocks)
    ratio, short = deviation(noise)
    p_normal = float(kstest((noise / ratio).ravel(), "norm").pvalue) if ratio > 0 else 0.0
    figures = {
        "largest_correlation": largest,
        "allowed_correlation": allowed,
        "noise_over_claimed": ratio,
        "p_normal": p_normal,
        "steps": len(noise),
    }
    if largest > allowed:
        text = f"noise is used again: correlation {largest:.3f} is above {allowed:.3f}"
        return Finding(False, text, figures)
    if short or p_normal < ALARM:
        kind = f"{ratio:.4f} of the claimed" if short else f"not normal (p = {p_normal:.1g})"
        return Finding(False, f"noise is {kind}", figures)
    text = f"largest correlation {largest:.3f} of {allowed:.3f} allowed, {ratio:.4f} of the claimed"
    return Finding(True, text, figures)


def check_secret_noise(subject: Subject) -> Finding:
    """Tests that the same release made twice has different noise, and that no seed gives it."""
    first, second = (_released_noise(subject) for _ in range(2))
    repeatable = subject.noise("secret-noise", 1).repeatable
    largest, allowed = _largest_correlation(np.stack([first, second]))
    figures = {"repeatable": repeatable, "correlation": largest, "allowed_correlation": allowed}
    if repeatable or largest > allowed:
        text = "the noise can be drawn again: whoever knows the seed can subtract it"
        return Finding(False, text, figures)
    return Finding(True, "a release that is made twice has different noise", figures)


def _released_noise(subject: Subject) -> npt.NDArray[np.float64]:
    """Noise of one step; where nothing is trained, what the source itself gives."""
    if subject.training is None:
        return subject.noise("secret-noise", 0).gaussian((WIDTH,), 1.0).astype(np.float64)
    watched = _watch(subject, "secret-noise", users=[0], steps=1, width=WIDTH)
    return watched.moves[:, :, 1:].ravel()


def check_steps(subject: Subject) -> Finding:
    """Tests that as many noisy steps take place as are accounted, and nothing else comes out."""
    steps = max(3, min(subject.plan.local_steps, STEPS))
    watched = _watch(subject, "steps", users=range(8), steps=steps, width=64)
    seen = len(watched.moves)
    quiet = int((np.abs(watched.moves[:, :, 8:]).max(axis=(1, 2)) == 0).sum())
    rest = float(np.abs(watched.update - watched.moves.sum(axis=0)).max())
    figures = {"asked": steps, "seen": seen, "without_noise": quiet, "update_beyond_steps": rest}
    if seen != steps or quiet:
        text = f"{steps} steps were accounted, {seen} took place, {quiet} of them without noise"
        return Finding(False, text, figures)
    if rest > 1e-3 * subject.own_noise_multiplier:
        return Finding(False, "the update is not the sum of the noisy steps", figures)
    text = f"{seen} steps of {steps} took place, and the update is their sum"
    return Finding(True, text, figures)


def check_empty_batches(subject: Subject) -> Finding:
    """Tests that a step in which nobody takes part is taken, with the same noise as any other."""
    steps, counts = STEPS, []
    nobody = _watch(subject, "empty-batches", users=[], steps=steps, width=WIDTH)
    counts.append(len(nobody.moves))
    few = _watch(subject, "few-users", users=range(3), steps=steps, width=8, sample_rate=0.1)
    counts.append(len(few.moves))
    ratio, short = deviation(nobody.moves / subject.own_noise_multiplier)
    figures = {"asked": steps, "seen": counts, "noise_over_claimed": ratio}
    if min(counts) < steps:
        text = f"{steps} steps were accounted, {min(counts)} took place: an empty batch shows"
        return Finding(False, text, figures)
    if short:
        return Finding(False, f"an empty batch has {ratio:.4f} of the claimed noise", figures)
    text = f"steps without users are taken, with {ratio:.4f} of the claimed noise"
    return Finding(True, text, figures)


def check_non_finite(subject: Subject) -> Finding:
    """Tests that a user whose gradient is not finite moves nothing by more than the clip norm."""
    moved = {}
    clean = _poisoned(subject, 0.0)
    for poison in POISONS:
        difference = _poisoned(subject, poison) - clean
        moved[str(poison)] = float(np.linalg.norm(difference)) if _finite(difference) else None
    figures = {"moved_by": moved}
    shown = [name for name, size in moved.items() if size is None or size > 1.001]
    if shown:
        return Finding(False, f"a gradient of {shown[0]} shows in the update", figures)
    largest = max(size for size in moved.values() if size is not None)
    return Finding(True, f"it moves the sum by {largest:.3f} clip norms at most", figures)


def _watch(
    subject: Subject, name: str, *, users: Any, steps: int, width: int, **changes: Any
) -> Watched:
    """Trains on canaries `users`, full batch unless changed."""
    return watch_training(
        step_spec(subject, **{"steps": steps, "sample_rate": 1.0, **changes}),
        canary_of=np.array(list(users), dtype=np.int64),
        n_canaries=width,
        random=subject.noise(name, 0),
        device=subject.device,
    )


def _poisoned(subject: Subject, factor: float) -> npt.NDArray[np.float64]:
    """Moves of one step in which a user's loss is multiplied; the noise is the same each time."""
    watched = watch_training(
        step_spec(subject, steps=1, sample_rate=1.0),
        canary_of=np.arange(8),
        n_canaries=16,
        random=RandomSource.from_seed(subject.seed, "non-finite"),
        device=subject.device,
        factors=torch.tensor([factor] + [1.0] * 7),
    )
    return watched.moves


def _finite(values: npt.NDArray[np.float64]) -> bool:
    return bool(len(values)) and bool(np.isfinite(values).all())


def _largest_correlation(rows: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Largest absolute correlation of two rows, and what independent rows stay below."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(lengths > 0, lengths, 1)
    correlation = np.abs(np.triu(unit @ unit.T, k=1))
    pairs = len(rows) * (len(rows) - 1) / 2
    return float(correlation.max()), float(norm.isf(ALARM / 2 / pairs) / math.sqrt(rows.shape[1]))
