"""`fedprofile privacy` as a script sees it: output, JSON and exit codes."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from dp_accounting.gaussian_mechanism import get_epsilon_gaussian

from shared.cli import root
from shared.errors import FedprofileError
from shared.keys.signing import SigningKey
from shared.privacy.ledger.log.receipts import keep_receipts, sign_last_line
from tests.shared.privacy.ledger.shop_ledgers import (
    PLAN,
    full_run,
    open_ledger,
    write_past_limits,
)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(root, ["privacy", *map(str, arguments)])


def refused(*arguments: object) -> str:
    """Returns the one line of a user's mistake, which `main` prints with exit code 2."""
    error = run(*arguments).exception
    assert isinstance(error, FedprofileError), error
    assert error.exit_code == 2
    assert "\n" not in str(error)
    return str(error)


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("north", "south"):
        full_run(open_ledger(tmp_path / "ledgers", name))
    return Path(tmp_path / "ledgers")


def test_status_per_shop_and_composed(folder) -> None:
    one = run("status", folder / "north.jsonl", "--json")
    both = run("status", folder, "--shops", "north, south", "--json")
    assert (one.exit_code, both.exit_code) == (0, 0)
    (north,) = json.loads(one.output)["shops"]
    assert north["shop"] == "north"
    assert 0 < north["epsilon"] < 8
    found = json.loads(both.output)
    assert [shop["shop"] for shop in found["shops"]] == ["north", "south"]
    assert north["epsilon"] < found["composition"]["epsilon"] < 2 * north["epsilon"]
    assert json.loads(run("status", folder, "--shops", "all", "--json").output) == found
    table = run("status", folder).output
    assert f"{north['epsilon']:.4g}" in table
    assert "south" in table
    assert "known are north, south" in refused("status", folder, "--shops", "north,east")


def test_plan_splits_the_budget_as_asked() -> None:
    statistics = ("plan", "--users", 300, "--budget", "counts=0.3,pairs=0.7")
    found = json.loads(run(*statistics, "--json").output)
    assert [m["name"] for m in found["mechanisms"]] == ["item-counts", "pair-sums"]
    assert (found["rounds"], found["what_if"], found["noise_and_signal"]) == (0, [], None)
    assert found["epsilon"] <= 8
    assert "pair-sums: noise multiplier" in run(*statistics).output
    shared = run("plan", "--users", 300, "--set", "privacy.noise=shared").output
    assert "of the sum of all shops" in " ".join(shared.split())
    assert "of the sum" not in run("plan", "--users", 300).output
    assert "shares add up to 0.3" in refused("plan", "--users", 300, "--budget", "counts=0.3")


def test_plan_states_the_sum_and_the_shop_alone() -> None:
    asked = ("plan", "--users", 300, "--shops", 8, "--max-missing", 1, "--max-colluding", 1)
    found = json.loads(run(*asked, "--json").output)
    assert {m["shared_by"] for m in found["mechanisms"]} == {6}
    assert found["bounds"] == {"shops": 8, "max_missing": 1, "max_colluding": 1}
    rows = found["collusion"]
    assert [row["shops"] for row in rows] == [1, 2, 3, 7]
    assert rows[0]["epsilon"] == found["epsilon"]
    share = sum(6 * m["steps"] / m["noise_multiplier"] ** 2 for m in found["mechanisms"])
    own = get_epsilon_gaussian(share**-0.5, found["delta"])
    assert rows[-1]["epsilon"] == pytest.approx(own, rel=1e-6)
    printed = " ".join(run(*asked).output.split())
    assert "Noise is divided by 6 of 8 shops: at least 7 are in each sum" in printed
    assert f"up to 1: of the sum {found['epsilon']:.4g}" in printed
    assert f"7, all others: the shop's own {own:.4g}" in printed
    assert "times 0.144 after averaging over all 8 shops" in printed
    usual = json.loads(run("plan", "--users", 300, "--shops", 8, "--json").output)
    assert usual["bounds"] == {"shops": 8, "max_missing": 1, "max_colluding": 2}
    assert json.loads(run("plan", "--users", 300, "--json").output)["collusion"] == []


def test_plan_refuses_a_roster_that_does_not_hold() -> None:
    assert "noise_shops=1 must be at least 2" in refused(
        "plan", "--users", 300, "--shops", 3, "--max-missing", 1
    )
    assert "give --shops too" in refused("plan", "--users", 300, "--max-colluding", 1)


def test_verify_exits_1_and_names_the_first_bad_entry(folder) -> None:
    honest = run("verify", folder)
    assert honest.exit_code == 0
    assert "north: holds, 12 lines" in honest.output
    path = folder / "north.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:5], *lines[6:]]))
    broken = run("verify", folder, "--json")
    assert broken.exit_code == 1
    found = json.loads(broken.output)
    assert not found["ok"]
    north, south = found["ledgers"]
    assert south["ok"]
    assert north["fault"].startswith("line 5: seq=6 must be 5")
    assert north["lines"] == 5
    assert "north: FAILS" in run("verify", folder).output


def test_verify_with_receipts_and_public_key(folder, tmp_path) -> None:
    path, receipts = folder / "north.jsonl", tmp_path / "receipts.jsonl"
    ledger = open_ledger(folder)
    entry, head = ledger.last_line
    server = SigningKey.generate()
    keep_receipts(receipts, [sign_last_line(server, shop="north", entry=entry, head=head)])
    key, pinned = ledger.chain.start.public_key, tmp_path / "server.pub"
    pinned.write_text(server.public + "\n")
    seen = ("--receipts", receipts, "--server-key", pinned)
    verified = run("verify", path, *seen, "--public-key", key)
    assert verified.exit_code == 0
    assert f"line 11, the last that the server key {server.public[:16]}…" in verified.output
    assert run("verify", path, "--public-key", "0" * 64).exit_code == 1
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    copied = tmp_path / "elsewhere" / "north.jsonl"
    copied.parent.mkdir()
    copied.write_bytes(path.read_bytes())
    alone = run("verify", copied)
    assert alone.exit_code == 0
    assert "on the owner's word alone: that lines 0 to 10 are all" in alone.output
    assert run("verify", copied, *seen).exit_code == 1
    unpinned = run("verify", copied, "--receipts", receipts)
    assert unpinned.exit_code == 0
    assert "not checked: 1 receipts of north: no server's key is pinned" in unpinned.output
    assert "fits one ledger" in refused("verify", folder, "--public-key", key)


def test_report_in_three_forms_and_never_over_a_file(folder, tmp_path) -> None:
    markdown = run("report", folder)
    assert markdown.exit_code == 0
    assert markdown.output.count("# Privacy statement: ") == 2
    found = json.loads(run("report", folder / "north.jsonl", "--json").output)
    assert found["shops"][0]["verification"]["ok"]
    page = tmp_path / "statement.html"
    assert run("report", folder, "--out", page).exit_code == 0
    assert page.read_text().startswith("<!doctype html>")
    assert "exists already" in refused("report", folder, "--out", page)
    (folder / "north.jsonl").write_bytes(b"")
    assert "the ledger is empty" in refused("report", folder)


def test_every_command_says_that_a_ledger_passed_its_limit_and_exits_1(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    write_past_limits(ledger, "r1", PLAN)
    passed = write_past_limits(ledger, "r2", (replace(PLAN[0], noise_multiplier=0.6),))
    words = f"line {passed}: epsilon="
    bound = "must be at most 8, the ledger's own limit at delta=1e-05"
    for command in ("verify", "status", "report"):
        said = run(command, tmp_path)
        assert said.exit_code == 1
        for text in (words, bound):
            assert text in said.output
        assert run(command, tmp_path, "--json").exit_code == 1
    (row,) = json.loads(run("status", tmp_path, "--json").output)["shops"]
    assert row["fault"].startswith(words)
    (found,) = json.loads(run("report", tmp_path, "--json").output)["shops"]
    assert found["guarantee"].startswith("No guarantee is stated for north")
    page = tmp_path / "report.html"
    assert run("report", tmp_path, "--out", page).exit_code == 1
    assert "No guarantee is stated" in page.read_text()
    audited = run("audit", tmp_path, "--check", "accounts")
    assert audited.exit_code == 1
    assert words in " ".join(audited.output.split())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "is no public key"),
        (b"\xff\x00garbage", "is no public key"),
        (b"ab" * 31, "is no public key"),
        (b"-----BEGIN PRIVATE KEY-----\nMC4", "is a private key"),
        (b"ecdsa-sha2-nistp384 AAAA", "is a node's public key"),
        (b"ssh-ed25519 AAAA", "is a public key of OpenSSH"),
        (b"-----BEGIN CERTIFICATE-----\nMIIB", "is a certificate"),
    ],
)
def test_a_key_file_that_is_none_is_one_line(folder, tmp_path, content, message) -> None:
    path = tmp_path / "server.pub"
    if content is not None:
        path.write_bytes(content)
    for command in ("verify", "report"):
        said = refused(command, folder, "--server-key", path)
        assert f"server-key={path}" in said
        assert message in said
        assert "`fedprofile server key`" in said


def test_a_folder_is_no_key_file(folder, tmp_path) -> None:
    assert "Is a directory" in refused("verify", folder, "--server-key", tmp_path)


def test_plan_finds_the_noise_and_asks_the_ledger(folder) -> None:
    arguments = ("plan", "--users", 300, "--epsilon", 4, "--rounds", 4)
    found = json.loads(run(*arguments, "--ledger", folder / "north.jsonl", "--json").output)
    assert found["mechanisms"][0]["name"] == "dp-sgd"
    assert 3.99 < found["epsilon"] <= 4
    assert found["fits"] is True
    assert found["runs_left"] == 1
    text = run(*arguments).output
    assert f"{found['mechanisms'][0]['noise_multiplier']:g}" in text
    assert "Ledger" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plan", "--users", 300, "--epsilon", 0), "privacy.epsilon=0.0"),
        (("plan", "--users", 300, "--delta", 0.01), "must be at most 1e-06"),
        (("plan", "--users", 300, "--epsilon", 0.01), "must be between 0.05"),
        (("plan", "--users", 300, "--set", "training.nonsense=1"), "unknown setting"),
        (("status", "/nonexistent"), "does not exist"),
        (("verify", "/nonexistent"), "does not exist"),
    ],
)
def test_mistakes_are_one_line(arguments, message) -> None:
    assert message in refused(*arguments)


def test_empty_folder_is_no_ledger(tmp_path) -> None:
    assert "holds no ledger" in refused("status", tmp_path)


@pytest.mark.slow
def test_exit_codes_of_the_installed_command(folder) -> None:
    def code(*arguments: object) -> int:
        command = [sys.executable, "-m", "shared", "privacy", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, timeout=120).returncode

    assert code("verify", folder) == 0
    (folder / "north.jsonl").write_bytes(b"{}\n")
    assert code("verify", folder) == 1
    assert code("status", folder) == 2
