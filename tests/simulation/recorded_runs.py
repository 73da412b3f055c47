"""Reports of runs whose recorded epsilon is right."""

from __future__ import annotations

from typing import Any

from sample_reports import sample_report

from shared.privacy.accounting import guarantee
from shared.privacy.guarantee import Mechanism
from simulation.report.schema import Report, ShopPrivacy

TRAINING = Mechanism("dp-sgd", 1.79, 1.0, 8, 0.01)
COUNTS = Mechanism("item-counts", 1.9, 1.0, 1, 1.0)
BOTH = (TRAINING, COUNTS)


def report(rounds: int = 8, **changes: Any) -> Report:
    """A run of three shops; `changes` to what they recorded as paid."""
    paid = ShopPrivacy.paid(guarantee(BOTH, delta=1e-5)).model_copy(update=changes)
    found = sample_report(shops=3)
    entry = found.training["private"][0]
    rows = tuple(entry.model_copy(update={"round": i}) for i in range(rounds + 1))
    return found.model_copy(
        update={"privacy": dict.fromkeys(found.privacy, paid), "training": {"private": rows}}
    )
