"""A ledger that was written before mechanisms said by whom their noise is shared."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from shop_ledgers import PLAN, full_run, open_ledger, request

from shared.errors import PrivacyError
from shared.privacy.ledger.evidence import Sources, verify_all
from shared.privacy.ledger.render import to_html, to_markdown
from shared.privacy.ledger.report import statement
from shared.privacy.ledger.status import read_ledger, status
from shared.privacy.ledger.tables import print_status
from shared.privacy.ledger.verify import Evidence, verify

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
    assert reserved.body.mechanisms == PLAN
    account = status(chain, now=datetime.now(UTC))
    full_run(open_ledger(tmp_path / "new"))
    new, _ = read_ledger(tmp_path / "new" / "north.jsonl")
    assert account.epsilon == status(new, now=datetime.now(UTC)).epsilon
    assert account.shared_by == 1


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


def test_shared_noise_is_stated_with_what_it_assumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = open_ledger(tmp_path)
    ledger.commit(ledger.reserve(request(0, plan=SHARED, mechanism=SHARED[1])), "c" * 64)
    chain, _ = read_ledger(tmp_path / "north.jsonl")
    account = status(chain, now=datetime.now(UTC))
    assert account.shared_by == 8
    (verdict,) = verify_all(tmp_path, Sources())
    assert verdict.ok
    found = statement(chain, account, verdict)
    for text in (found["guarantee"], found["nist_sp_800_226"]["trust model"]):
        assert "8 shops" in text
        assert "it assumes secure aggregation" in text
    assert "the other shops to add their part" in found["registry"]["deployment"]["model"]["actors"]
    for page in (to_markdown([found]), to_html([found])):
        assert "noise of the sum of 8 shops" in page
    print_status([account], None)
    printed = " ".join(capsys.readouterr().out.split())
    assert "north: noise was shared by up to 8 shops; the account holds for the sum" in printed
    print_status([replace(account, shared_by=1)], None)
    assert "shared" not in capsys.readouterr().out


def test_noise_of_one_shop_is_stated_without_assumptions(tmp_path: Path) -> None:
    full_run(open_ledger(tmp_path))
    chain, _ = read_ledger(tmp_path / "north.jsonl")
    (verdict,) = verify_all(tmp_path, Sources())
    found = statement(chain, status(chain, now=datetime.now(UTC)), verdict)
    assert "secure aggregation" not in json.dumps(found)
    assert "Each shop adds the full noise itself" in json.dumps(found["registry"])
