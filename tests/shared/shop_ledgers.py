"""Ledgers to test with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from shared.privacy.guarantee import Mechanism
from shared.privacy.ledger.admission import Request
from shared.privacy.ledger.entries import Limits
from shared.privacy.ledger.ledger import Ledger

LIMITS = Limits(epsilon=8.0, delta=1e-5)
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLAN = (Mechanism("dp-sgd", 4.0, 1.0, 4, 0.01), Mechanism("item-counts", 6.0, 1.0, 1, 1.0))
"""mu^2 = 4 / 16 + 1 / 36."""


def ticking(start: datetime = START) -> Iterator[datetime]:
    while True:
        yield start
        start += timedelta(seconds=1)


def open_ledger(folder: Path, shop: str = "north", *, limits: Limits = LIMITS) -> Ledger:
    clock = ticking()
    return Ledger.open_or_create(folder, shop=shop, limits=limits, clock=lambda: next(clock))


def request(round: int = 1, *, run: str = "r1", **changes: object) -> Request:  # noqa: A002
    plan = changes.get("plan", PLAN)
    assert isinstance(plan, tuple)
    first: Mechanism = plan[0]
    one = Mechanism(first.name, first.noise_multiplier, first.sample_rate, 1, first.max_norm)
    values: dict[str, object] = {
        "run": run,
        "round": round,
        "mechanism": one,
        "plan": plan,
        "plan_digest": run.encode().hex().ljust(64, "0"),
        "base_hash": "b" * 64,
        "inputs": f"{round:064x}",
    }
    return Request(**(values | changes))  # type: ignore[arg-type]


def counts(run: str = "r1", **changes: object) -> Request:
    return request(0, run=run, mechanism=PLAN[1], **changes)


def full_run(ledger: Ledger, run: str = "r1", *, rounds: int = 4) -> None:
    """Releases the counts and some rounds of the plan."""
    for asked in [counts(run), *(request(number, run=run) for number in range(1, rounds + 1))]:
        ledger.commit(ledger.reserve(asked), f"{asked.round:064x}")
