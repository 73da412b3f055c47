"""Ledgers to test with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger.admission import ReleaseRequest, _reservation_line
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.log.entries import LifetimeLimits, Planning
from shared.privacy.ledger.spending import spending_after
from shared.privacy.noise import GRID

LIMITS = LifetimeLimits(epsilon=8.0, delta=1e-5)
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLAN = (
    Mechanism("dp-sgd", 4.0, 1.0, 4, 0.01, grid=GRID),
    Mechanism("item-counts", 6.0, 1.0, 1, 1.0, grid=GRID),
)
"""mu^2 = 4 / 16 + 1 / 36."""


def ticking(start: datetime = START) -> Iterator[datetime]:
    while True:
        yield start
        start += timedelta(seconds=1)


def open_ledger(folder: Path, shop: str = "north", *, limits: LifetimeLimits = LIMITS) -> Ledger:
    clock = ticking()
    return Ledger.open_or_create(folder, shop=shop, limits=limits, clock=lambda: next(clock))


def request(round: int = 1, *, run: str = "r1", **changes: object) -> ReleaseRequest:  # noqa: A002
    plan = changes.get("plan", PLAN)
    assert isinstance(plan, tuple)
    first: Mechanism = plan[0]
    one = replace(first, steps=1, shared_by=1)
    values: dict[str, object] = {
        "run": run,
        "round": round,
        "mechanism": one,
        "plan": plan,
        "plan_digest": run.encode().hex().ljust(64, "0"),
        "base_hash": "b" * 64,
        "inputs": f"{round:064x}",
    }
    return ReleaseRequest(**(values | changes))  # type: ignore[arg-type]


def counts(run: str = "r1", **changes: object) -> ReleaseRequest:
    return request(0, run=run, mechanism=PLAN[1], **changes)


def full_run(ledger: Ledger, run: str = "r1", *, rounds: int = 4) -> None:
    """Releases the counts and some rounds of the plan."""
    for asked in [counts(run), *(request(number, run=run) for number in range(1, rounds + 1))]:
        ledger.commit(ledger.reserve(asked), f"{asked.round:064x}")


def write_past_limits(
    ledger: Ledger,
    run: str,
    plan: tuple[Mechanism, ...],
    *,
    planning: Planning = "planned",
    **changes: object,
) -> int:
    """Appends the reservation that admission would write if it held nothing against a limit.

    Returns:
        Its line.
    """
    asked, claim = request(run=run, plan=plan), spending_after(ledger.chain, plan, planning)
    line = _reservation_line(ledger.chain, asked, plan, planning, claim)
    with ledger._writer.locked() as file:
        (number,) = ledger._writer.append(file, [line.model_copy(update=changes)])
    return number
