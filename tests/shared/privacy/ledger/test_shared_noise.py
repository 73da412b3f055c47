"""What status, report and verify say where noise was shared: both guarantees, and their ground."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from shared.cli import root
from shared.privacy.accounting.accountants import epsilon_pair
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.own_guarantee import own_epsilon
from shared.privacy.ledger.reporting.evidence import Evidence
from shared.privacy.ledger.reporting.people import compose_shops
from shared.privacy.ledger.reporting.rendering import (
    print_status,
    print_verdicts,
    to_html,
    to_markdown,
)
from shared.privacy.ledger.reporting.statement import statement
from shared.privacy.ledger.reporting.status import budget_status, read_ledger
from shared.privacy.ledger.reporting.verify import verify
from tests.shared.privacy.ledger.shop_ledgers import full_run, open_ledger, request
from tests.shared.privacy.ledger.sums import (
    BINDING,
    ROSTER,
    SHARED,
    SHOPS,
    aggregation,
    begin_run,
    decide,
    open_sum,
    shared_counts,
    signatures,
)


def one_line(text: str) -> str:
    return " ".join(text.split())


def said_everywhere(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Returns the texts of a shop's ledger: verify, status, statement, Markdown, page."""
    path = folder / "north.jsonl"
    chain, _ = read_ledger(path)
    account = budget_status(chain, now=datetime.now(UTC))
    verdict = verify(path, Evidence())
    said = statement(chain, account, verdict)
    print_verdicts([verdict])
    verified = one_line(capsys.readouterr().out)
    print_status([account], None)
    printed = one_line(capsys.readouterr().out)
    nist: dict[str, Any] = said["nist_sp_800_226"]
    return [
        verified,
        printed,
        said["guarantee"],
        nist["trust model"],
        to_markdown([said]),
        one_line(to_html([said])),
    ]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    opened = open_ledger(tmp_path)
    begin_run(opened)
    return opened


def test_both_guarantees_are_stated_everywhere(
    ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_sum, own = max(epsilon_pair(SHARED, 1e-5)), own_epsilon(ledger.chain)
    assert own > of_sum
    for text in said_everywhere(tmp_path, capsys):
        assert f"Of the sum: epsilon {of_sum:.4g} at delta 1e-05" in text
        assert "if all other shops help the server: epsilon " in text
        assert f"epsilon {own:.4g} at delta 1e-05." in text
        assert f"rests on roster {ROSTER.digest()[:16]}… of 5 shops" in text
        assert "if at most 1 of them help the server" in text
        assert "at least 4 shops (1 may be missing)" in text
        assert "at least 3 honest ones" in text
        assert "simulated" not in text


def test_a_sum_without_a_roster_was_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = open_ledger(tmp_path)
    ledger.commit(ledger.reserve(shared_counts()), "c" * 64)
    for text in said_everywhere(tmp_path, capsys):
        assert "Of the sum: epsilon" in text
        assert "No roster is recorded for run r1: the sum was simulated" in text


def test_noise_in_the_shop_says_nothing_of_sums(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full_run(open_ledger(tmp_path))
    chain, _ = read_ledger(tmp_path / "north.jsonl")
    account = budget_status(chain, now=datetime.now(UTC))
    assert account.shared_noise is None
    for text in said_everywhere(tmp_path, capsys):
        assert "roster" not in text
        assert "two guarantees" not in text
    said = statement(chain, account, verify(tmp_path / "north.jsonl", Evidence()))
    nist = said["nist_sp_800_226"]
    assert nist["epsilon if all other shops collude"] == nist["privacy parameter epsilon"]


def test_a_share_that_protects_nobody_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tuple(replace(m, noise_multiplier=1.0, shared_by=200) for m in SHARED)
    ledger = open_ledger(tmp_path)
    ledger.reserve(request(0, plan=plan[1:], mechanism=plan[1]))
    chain, _ = read_ledger(tmp_path / "north.jsonl")
    account = budget_status(chain, now=datetime.now(UTC))
    assert account.shared_noise is not None
    assert account.shared_noise.own_epsilon is None
    json.dumps(account.to_json(), allow_nan=False)
    for text in said_everywhere(tmp_path, capsys):
        assert (
            "help the server: no epsilon that an accountant bounds, which protects nobody" in text
        )


def test_verify_says_what_it_checked_and_what_was_never_opened(
    ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = verify(tmp_path / "north.jsonl", Evidence())
    assert "0 sums with one set of shops" in verdict.sums
    assert verdict.sums.endswith("; in no set in run r1: 1 release")
    decide(ledger)
    verdict = verify(tmp_path / "north.jsonl", Evidence())
    assert "1 run under 1 roster, one set-up each; 1 sum with one set" in verdict.sums
    assert verdict.sums.endswith(
        "0 opened, by enough valid signatures of shops in the set; never opened in run r1: counts"
    )
    assert any("signatures of each opening" in text for text in verdict.checked)
    open_sum(ledger)
    verdict = verify(tmp_path / "north.jsonl", Evidence())
    assert "1 opened" in verdict.sums
    assert "never" not in verdict.sums
    print_verdicts([verdict])
    assert "sums over shops: 1 run under 1 roster" in capsys.readouterr().out


def test_each_release_that_stayed_closed_is_named(ledger: Ledger, tmp_path: Path) -> None:
    for number in (1, 2):
        asked = request(number, plan=SHARED, mechanism=replace(SHARED[0], steps=1))
        ledger.commit(ledger.reserve(asked), f"{number:064x}")
        decide(ledger, binding=replace(BINDING, release=f"adapter-{number}"))
    decide(ledger)
    of_first = replace(BINDING, release="adapter-1")
    ledger.record_opened(
        run="r1", release="adapter-1", signatures=signatures(binding=of_first, by=SHOPS[:4])
    )
    verdict = verify(tmp_path / "north.jsonl", Evidence())
    assert verdict.sums.endswith("never opened in run r1: adapter-2, counts")


def test_a_person_of_two_shops_is_in_one_sum_twice(tmp_path: Path) -> None:
    chains = []
    for shop in ("north", "south"):
        ledger = open_ledger(tmp_path, shop)
        begin_run(ledger)
        chains.append(ledger.chain)
    twice = [replace(m, noise_multiplier=m.noise_multiplier / 2) for m in SHARED]
    composed = compose_shops(chains)
    assert composed.shared_runs == ("r1",)
    assert composed.epsilon == pytest.approx(max(epsilon_pair(twice, 1e-5)), rel=1e-3)


def test_the_commands_print_both_and_exit_with_0(ledger: Ledger, tmp_path: Path) -> None:
    ledger.record_aggregation(aggregation("r2"))
    for command in ("status", "report", "verify"):
        result = CliRunner().invoke(root, ["privacy", command, str(tmp_path)])
        assert result.exit_code == 0, result.output
        assert "Of the sum: epsilon" in one_line(result.output)
        assert ("sums over shops: 2 runs" in one_line(result.output)) is (command != "status")
    found = json.loads(
        CliRunner().invoke(root, ["privacy", "status", str(tmp_path), "--json"]).output
    )
    (shop,) = found["shops"]
    assert shop["shared_noise"]["rosters"][0]["noise_shops"] == 3
    assert shop["shared_noise"]["own_epsilon"] > shop["epsilon"]
