"""Speed of the ledger: appending, verifying and recomputing, and how well the accountants agree."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from shared.privacy.accounting import accountants as accounting
from shared.privacy.accounting.accountants import epsilon_pld, epsilon_prv
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger.admission import ReleaseRequest
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.log.entries import Body, Commit, LifetimeLimits, Round
from shared.privacy.ledger.reporting.evidence import Evidence
from shared.privacy.ledger.reporting.verify import verify
from shared.privacy.ledger.spending import spent
from simulation.reporting.benchmark_page import BenchmarkFigure

LINES = 10_000
STEPS = 2_000
"""Of each plan: a round takes one, and every round has two lines."""
PLANS = (
    Mechanism("dp-sgd", 100.0, 1.0, STEPS, 0.01),
    Mechanism("dp-sgd", 40.0, 0.1, STEPS, 0.01),
    Mechanism("dp-sgd", 20.0, 0.05, STEPS, 0.01),
)


def ledger_figures() -> list[BenchmarkFigure]:
    """Measures a ledger of 10,000 lines in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        ledger = Ledger.open_or_create(
            Path(name), shop="bench", limits=LifetimeLimits(epsilon=40, delta=1e-5)
        )
        _fill(ledger)
        path = Path(name) / "bench.jsonl"
        beside, sync = _append_seconds(ledger)
        started = time.perf_counter()
        verdict = verify(path, Evidence())
        verifying = time.perf_counter() - started
        recomputing = _recompute_seconds(ledger)
    what = f"{verdict.lines} lines, 3 plans" if verdict.ok else f"FAILED: {verdict.fault}"
    return [
        BenchmarkFigure("verify a ledger", verifying, 5, "s", what),
        BenchmarkFigure(
            "recompute its epsilon", recomputing, 10, "s", "PRV and PLD, nothing cached"
        ),
        BenchmarkFigure(
            "append to it beside fsync", 1000 * beside, 5, "ms", f"fsync {1000 * sync:.2g} ms"
        ),
        BenchmarkFigure(
            "PRV against PLD at eps_error 1e-3", _disagreement(), 0.002, "epsilon", "3 plans"
        ),
    ]


def _request(number: int, plan: Mechanism, digest: str) -> ReleaseRequest:
    one = Mechanism(plan.name, plan.noise_multiplier, plan.sample_rate, 1, plan.max_norm)
    return ReleaseRequest(
        run=digest[:8],
        round=number,
        mechanism=one,
        plan=(plan,),
        plan_digest=digest,
        base_hash="b" * 64,
        inputs=f"{number:064x}",
        planning="planned",
    )


def _fill(ledger: Ledger) -> None:
    """Reserves three plans and appends rounds and commits of them in one go."""
    for index, plan in enumerate(PLANS):
        ledger.reserve(_request(1, plan, f"{index:064x}"))
    writer = ledger._writer
    with writer.locked() as file:
        bodies: list[Body] = []
        reserved = list(ledger.chain.reservations.values())
        start = len(ledger.chain.line_hashes)
        for number in range(2, 2 + (LINES - start) // 2):
            owner = reserved[number % len(reserved)]
            asked = _request(number, owner.body.mechanisms[0], owner.body.plan_digest)
            bodies.append(
                Round(
                    reservation=owner.seq,
                    run=asked.run,
                    round=number,
                    mechanism=asked.mechanism,
                    plan_digest=asked.plan_digest,
                    inputs=asked.inputs,
                )
            )
            bodies.append(Commit(entry=start + len(bodies) - 1, digest=f"{number:064x}"))
        writer.append(file, bodies)


def _append_seconds(ledger: Ledger) -> tuple[float, float]:
    """Returns the median time of an append without its fsync, and that of the fsync."""
    real, synced, beside = os.fsync, [0.0], []

    def timed(descriptor: int) -> None:
        started = time.perf_counter()
        real(descriptor)
        synced.append(time.perf_counter() - started)

    with patch.object(os, "fsync", timed):
        for number in range(LINES + 1, LINES + 101):
            before, started = sum(synced), time.perf_counter()
            ledger.reserve(_request(number, PLANS[0], f"{0:064x}"))
            beside.append(time.perf_counter() - started - (sum(synced) - before))
    return statistics.median(beside), statistics.median(synced[1:])


def _recompute_seconds(ledger: Ledger) -> float:
    for cached in (accounting._prv, accounting._pld, accounting._gaussian):
        cached.cache_clear()
    started = time.perf_counter()
    spent(ledger.chain)
    return time.perf_counter() - started


def _disagreement() -> float:
    plans = (
        [Mechanism("dp-sgd", 1.0, 0.1, 100, 1.0)],
        [Mechanism("dp-sgd", 1.0, 0.05, 200, 1.0)],
        [Mechanism("dp-sgd", 0.8, 0.01, 1000, 1.0)],
    )
    return max(
        abs(epsilon_prv(plan, 1e-5, eps_error=1e-3) - epsilon_pld(plan, 1e-5, grid=1e-4))
        for plan in plans
    )
