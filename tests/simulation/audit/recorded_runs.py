"""Reports of runs whose recorded epsilon is right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from shared.privacy.accounting.accountants import guarantee
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.noise import GRID
from simulation.experiments.single.schema import Report, ShopPrivacy
from tests.simulation.experiments.single.sample_reports import sample_report

TRAINING = Mechanism("dp-sgd", 1.79, 1.0, 8, 0.01, grid=GRID)
COUNTS = Mechanism("item-counts", 1.9, 1.0, 1, 1.0, grid=GRID)
BOTH = (TRAINING, COUNTS)
PAIRS = Mechanism("pair-sums", 1.1, 1.0, 1, 1.0, grid=GRID)
ALL = (replace(TRAINING, noise_multiplier=3.6), COUNTS, PAIRS)


def report(rounds: int = 8, *, mechanisms: tuple[Mechanism, ...] = BOTH, **changes: Any) -> Report:
    """A run of three shops; `changes` to what they recorded as paid."""
    paid = ShopPrivacy.paid(guarantee(mechanisms, delta=1e-5)).model_copy(update=changes)
    found = sample_report(shops=3)
    entry = found.training["private"][0]
    rows = tuple(entry.model_copy(update={"round": i}) for i in range(rounds + 1))
    released = {
        f"{part}_share": (name in {m.name for m in mechanisms}) / len(mechanisms)
        for part, name in (("counts", "item-counts"), ("pairs", "pair-sums"), ("adapter", "dp-sgd"))
    }
    privacy = found.settings.privacy.model_copy(update={**released, "delta": 1e-5})
    return found.model_copy(
        update={
            "settings": found.settings.model_copy(update={"privacy": privacy}),
            "privacy": dict.fromkeys(found.privacy, paid),
            "training": {"private": rows},
        }
    )
