"""The audit of ledgers: one record a reservation, and the plan that the noise was found for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from shared.errors import PrivacyError
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger.admission import ReleaseRequest
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.log.entries import LifetimeLimits, Planning
from simulation.audit.checks.spending_records import check_records, records_of_ledgers
from simulation.audit.checks.subject import subject_of_path
from simulation.audit.cli import audit
from tests.simulation.audit.recorded_runs import ALL, BOTH, COUNTS, TRAINING


def reserve(
    ledger: Ledger, number: int, plan: tuple[Mechanism, ...], planning: Planning = "planned"
) -> None:
    ledger.reserve(
        ReleaseRequest(
            run=f"run-{len(plan)}",
            round=number,
            mechanism=replace(plan[0], steps=1),
            plan=plan,
            plan_digest=f"{len(plan):064x}",
            base_hash="b" * 64,
            inputs=f"{number:064x}",
            planning=planning,
        )
    )


def ledger(folder: Path, shop: str = "a") -> Ledger:
    return Ledger.open_or_create(folder, shop=shop, limits=LifetimeLimits(epsilon=40, delta=1e-5))


def test_every_reservation_is_recomputed(tmp_path: Path) -> None:
    for shop in ("a", "b"):
        account = ledger(tmp_path, shop)
        for number in (1, 2):
            reserve(account, number, BOTH)
        reserve(account, 3, (TRAINING,))
    records = records_of_ledgers(tmp_path)
    assert [r.shop for r in records] == [
        f"{shop} (ledger, line {line})" for shop in "ab" for line in (1, 4)
    ]
    assert records[0].mechanisms == BOTH
    assert records[1].mechanisms == (*BOTH, TRAINING)
    assert [m.steps for m in records[1].released] == [1, 1, 1]
    finding = check_records(records)
    assert finding.passed, finding.text
    assert finding.figures["recomputed"]["a (ledger, line 1)"][0] == pytest.approx(7.99, abs=0.02)


def test_adaptive_runs_are_recomputed_with_their_filter(tmp_path: Path) -> None:
    account = ledger(tmp_path)
    reserve(account, 1, (replace(TRAINING, steps=1),), "adaptive")
    records = records_of_ledgers(tmp_path)
    assert records[0].adaptive == (replace(TRAINING, steps=1),)
    assert check_records(records).passed
    wrong = replace(records[0], epsilon=records[0].epsilon - 0.1)
    assert "recorded epsilon=" in check_records([wrong]).text
    with pytest.raises(PrivacyError, match="no reservation is for releases planned in advance"):
        subject_of_path(tmp_path)


def test_a_ledger_of_shared_noise_gives_the_plan_that_it_paid_for(tmp_path: Path) -> None:
    shared = tuple(replace(mechanism, shared_by=5) for mechanism in ALL)
    reserve(ledger(tmp_path), 1, shared)
    found = subject_of_path(tmp_path)
    assert found.mechanisms == shared
    assert (found.plan.noise_shops, found.training) == (5, shared[0])
    assert check_records(found.records).passed


def test_a_ledger_of_statistics_alone_gives_a_plan_without_training(tmp_path: Path) -> None:
    reserve(ledger(tmp_path), 0, ALL[1:])
    assert subject_of_path(tmp_path).mechanisms == ALL[1:]


def test_the_command_takes_a_ledger_and_a_folder(tmp_path: Path) -> None:
    reserve(ledger(tmp_path), 1, BOTH)
    for path in (tmp_path, next(tmp_path.glob("*.jsonl"))):
        called = CliRunner().invoke(audit, [str(path), "--json", "--check", "accounts"])
        content = json.loads(called.stdout)
        assert called.exit_code == 0
        assert content["checks"][0]["finding"].startswith("right by two accountants: 1;")
        assert [m["noise_multiplier"] for m in content["mechanisms"]] == [
            TRAINING.noise_multiplier,
            COUNTS.noise_multiplier,
        ]
        assert content["mechanisms"][0]["steps"] == 8


def test_a_place_without_ledgers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PrivacyError, match="holds no ledger"):
        subject_of_path(tmp_path)
    with pytest.raises(PrivacyError, match="does not exist"):
        subject_of_path(tmp_path / "nowhere")
