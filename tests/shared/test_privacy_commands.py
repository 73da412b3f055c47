"""`fedprofile privacy` as a script sees it: output, JSON and exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from shop_ledgers import full_run, open_ledger

from shared.cli import root
from shared.errors import FedprofileError
from shared.privacy.ledger.keys import SigningKey
from shared.privacy.ledger.receipts import keep_receipts, sign_head


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
    entry, head = ledger.head
    server = SigningKey.generate()
    keep_receipts(receipts, [sign_head(server, shop="north", entry=entry, head=head)])
    key = ledger.chain.start.public_key
    assert run("verify", path, "--receipts", receipts, "--public-key", key).exit_code == 0
    assert run("verify", path, "--public-key", "0" * 64).exit_code == 1
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    copied = tmp_path / "elsewhere" / "north.jsonl"
    copied.parent.mkdir()
    copied.write_bytes(path.read_bytes())
    assert run("verify", copied).exit_code == 0
    assert run("verify", copied, "--receipts", receipts).exit_code == 1
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


def test_plan_finds_the_noise_and_asks_the_ledger(folder) -> None:
    arguments = ("plan", "--users", 300, "--epsilon", 4, "--rounds", 4)
    found = json.loads(run(*arguments, "--ledger", folder / "north.jsonl", "--json").output)
    assert found["mechanisms"][0]["name"] == "dp-sgd"
    assert 3.99 < found["epsilon"] <= 4
    assert found["fits"] is True
    assert found["rounds_left"] > 4
    text = run(*arguments).output
    assert f"{found['mechanisms'][0]['noise_multiplier']:g}" in text
    assert "Ledger" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plan", "--users", 300, "--epsilon", 0), "privacy.epsilon=0.0"),
        (("plan", "--users", 300, "--delta", 0.01), "must be below 1/n_users"),
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
