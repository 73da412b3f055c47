"""The privacy account as the page shows it: its latest rounds, and faults without folders."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from client.serving.analytics import privacy_report as account
from client.serving.cli import serve
from client.serving.service.settings import ServingSettings
from shared.errors import PrivacyError
from tests.shared.privacy.ledger.shop_ledgers import full_run, open_ledger

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    full_run(open_ledger(tmp_path / "ledgers"))
    return tmp_path / "ledgers" / "north.jsonl"


def test_only_the_latest_rounds_are_worked_out_and_they_are_those_of_the_whole_list(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = account.privacy_report(ledger, now=NOW)["rounds"]
    assert len(whole) == 5
    for shown in (2, 4, 5):
        monkeypatch.setattr(account, "SHOWN_ROUNDS", shown)
        found = account.privacy_report(ledger, now=NOW)
        assert found["rounds_in_all"] == 5
        assert found["rounds"] == whole[-shown:]
        assert all(entry["epsilon_cost"] > 0 for entry in found["rounds"])


@pytest.mark.parametrize("given", [".", "north.jsonl", "../ledgers/north.jsonl"])
def test_a_fault_keeps_its_words_and_tells_no_folder(
    ledger: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.chdir(ledger.parent)
    (ledger.parent / "keys" / "north.anchor").write_text("nonsense")
    taken: list[ServingSettings] = []
    monkeypatch.setattr(
        "client.serving.service.startup.open_service",
        lambda o, **_: taken.append(o.settings),
    )
    monkeypatch.setattr("client.serving.server.run_server", lambda *_, **__: None)
    assert CliRunner().invoke(serve, ["--ledger", given]).exit_code == 0
    (settings,) = taken
    assert settings.ledger == ledger
    for path in (settings.ledger, Path("north.jsonl")):
        with pytest.raises(PrivacyError) as caught:
            account.verification_report(path)
        assert str(caught.value) == (
            "anchor=keys/north.anchor is damaged; restore it from its backup, or run "
            "`fedprofile node ledger restore` with the server's receipts"
        )


def test_a_damaged_and_a_missing_ledger_are_named_without_their_folder(ledger: Path) -> None:
    ledger.write_bytes(ledger.read_bytes().replace(b'"round":1', b'"round":2', 1))
    with pytest.raises(PrivacyError, match=r"^ledger=north\.jsonl.*line") as caught:
        account.privacy_report(ledger, now=NOW)
    assert str(ledger.parent.parent) not in str(caught.value)
    fault = account.verification_report(ledger)["fault"]
    assert "line" in fault
    assert str(ledger.parent.parent) not in fault
    ledger.unlink()
    with pytest.raises(PrivacyError, match=r"^ledger=north\.jsonl does not exist"):
        account.verification_report(ledger)
