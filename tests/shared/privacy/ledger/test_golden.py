"""A ledger that was written before mechanisms said by whom their noise is shared."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.errors import PrivacyError
from shared.privacy.ledger.reporting.evidence import Evidence, EvidenceSources
from shared.privacy.ledger.reporting.rendering import print_status, to_markdown
from shared.privacy.ledger.reporting.statement import statement
from shared.privacy.ledger.reporting.status import budget_status, read_ledger
from shared.privacy.ledger.reporting.verify import verify, verify_all
from tests.shared.privacy.ledger.shop_ledgers import PLAN, full_run, open_ledger, request

OLD = Path(__file__).parent / "golden" / "ledger-before-shared-noise.jsonl"
KEY = "42d12700edcafde6a22c8a938f9f18b7d6b46ccfb93d1fbaf44e366d1952e0e2"
SHARED = tuple(replace(mechanism, shared_by=8) for mechanism in PLAN)


def test_an_old_ledger_reads_verifies_and_costs_what_it_did(tmp_path: Path) -> None:
    path = tmp_path / "north.jsonl"
    shutil.copy(OLD, path)
    assert b"shared_by" not in path.read_bytes()
    verdict = verify(path, Evidence(public_key=KEY))
    assert (verdict.ok, verdict.fault, verdict.lines) == (True, "", 12)
    chain, _ = read_ledger(path)
    (reserved,) = chain.reservations.values()
    assert reserved.body.mechanisms == tuple(replace(m, grid=0) for m in PLAN)
    account = budget_status(chain, now=datetime.now(UTC))
    full_run(open_ledger(tmp_path / "new"))
    new, _ = read_ledger(tmp_path / "new" / "north.jsonl")
    assert account.epsilon == budget_status(new, now=datetime.now(UTC)).epsilon
    assert account.shared_by == 1
    assert account.floating_point


def test_what_was_released_in_floating_point_is_marked_for_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(OLD, tmp_path / "north.jsonl")
    full_run(open_ledger(tmp_path / "new"))
    for folder, marked in ((tmp_path, True), (tmp_path / "new", False)):
        chain, _ = read_ledger(folder / "north.jsonl")
        account = budget_status(chain, now=datetime.now(UTC))
        verdict = verify(folder / "north.jsonl", Evidence())
        page = to_markdown([statement(chain, account, verdict)])
        print_status([account], None)
        for text in (page, " ".join(capsys.readouterr().out.split())):
            assert ("the low bits of those numbers" in text) is marked
        assert ("discrete Gaussian on a grid of 1/1048576" in page) is not marked


def test_new_lines_say_by_whom_noise_is_shared(tmp_path: Path) -> None:
    full_run(open_ledger(tmp_path))
    lines = (tmp_path / "north.jsonl").read_text().splitlines()
    bodies = [json.loads(line)["body"] for line in lines]
    rounds = [body for body in bodies if body["kind"] == "round"]
    assert {body["mechanism"]["shared_by"] for body in rounds} == {1}


def test_a_round_of_other_sharing_than_was_reserved_is_refused(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.reserve(request(1, plan=SHARED, mechanism=replace(SHARED[0], steps=1)))
    with pytest.raises(PrivacyError, match=r"shared_by=1 takes 1 steps after 0, but 0 are"):
        ledger.reserve(request(2, plan=SHARED, mechanism=replace(PLAN[0], steps=1)))


def test_noise_of_one_shop_is_stated_without_assumptions(tmp_path: Path) -> None:
    full_run(open_ledger(tmp_path))
    chain, _ = read_ledger(tmp_path / "north.jsonl")
    (verdict,) = verify_all(tmp_path, EvidenceSources())
    found = statement(chain, budget_status(chain, now=datetime.now(UTC)), verdict)
    assert "secure aggregation" not in json.dumps(found)
    assert "Each shop adds the full noise itself" in json.dumps(found["registry"])
