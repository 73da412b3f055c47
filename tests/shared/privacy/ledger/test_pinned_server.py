"""Only the pinned server's signatures count; what they do not cover is the owner's word."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from shared.cli import root
from shared.errors import ConfigError
from shared.keys.signing import SigningKey
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.log.receipts import Receipt, keep_receipts, sign_last_line
from shared.privacy.ledger.reporting.evidence import EvidenceSources, PinnedKey
from shared.privacy.ledger.reporting.verify import Verdict, verify_all
from shared.protocol.server_key import pinned_key
from tests.shared.privacy.ledger.shop_ledgers import full_run, open_ledger, request

SERVER, SHOP = SigningKey.generate(), SigningKey.generate()
PINNED = PinnedKey(SERVER.public, "of the test")


def receipt_of(ledger: Ledger, key: SigningKey = SERVER) -> Receipt:
    entry, head = ledger.last_line
    return sign_last_line(key, shop="north", entry=entry, head=head)


def verdict_of(
    folder: Path, receipts: list[Receipt], *, pinned: PinnedKey | None = PINNED
) -> Verdict:
    """Verifies as an auditor does who was sent the ledger alone, and the server's receipts."""
    sent = folder.parent / "sent"
    shutil.rmtree(sent, ignore_errors=True)
    sent.mkdir()
    shutil.copy(folder / "north.jsonl", sent)
    path = folder.parent / "receipts.jsonl"
    path.unlink(missing_ok=True)
    keep_receipts(path, receipts)
    (verdict, *others) = verify_all(sent, EvidenceSources(receipts=path, server_key=pinned))
    assert not others
    return verdict


@pytest.fixture
def honest(tmp_path: Path) -> tuple[Path, list[Receipt]]:
    """A ledger of five releases, countersigned in the middle, and the server's receipts."""
    ledger = open_ledger(tmp_path / "ledgers")
    full_run(ledger, rounds=3)
    first = receipt_of(ledger)
    ledger.countersign(first)
    ledger.commit(ledger.reserve(request(4)), "4" * 64)
    return tmp_path / "ledgers", [first, receipt_of(ledger)]


@pytest.fixture
def rewritten(tmp_path: Path) -> Path:
    """One release in the place of five, countersigned by a key of the shop's own."""
    ledger = open_ledger(tmp_path / "rewritten")
    full_run(ledger, rounds=0)
    ledger.countersign(receipt_of(ledger, SHOP))
    return tmp_path / "rewritten"


def test_a_history_rewritten_and_countersigned_by_the_shop_fails_once_the_server_is_pinned(
    honest: tuple[Path, list[Receipt]], rewritten: Path
) -> None:
    _, receipts = honest
    last = receipts[-1].entry
    found = verdict_of(rewritten, receipts)
    assert not found.ok
    assert "line 9 is missing, which the server signed" in found.fault
    # The shop's own receipts beside the real ones change nothing, and alone prove nothing.
    own = receipt_of(Ledger.open(rewritten / "north.jsonl"), SHOP)
    assert not verdict_of(rewritten, [own, *receipts]).ok
    assert last > own.entry
    alone = verdict_of(rewritten, [own])
    assert alone.ok
    assert alone.signed is None
    assert f"the {PINNED.words} signed none of them" in alone.owner_word
    assert any("countersignatures of 1 other keys" in text for text in alone.unchecked)
    assert any("1 receipts of north: not of the server key" in text for text in alone.unchecked)


def test_a_history_of_the_same_length_fails_too(
    honest: tuple[Path, list[Receipt]], tmp_path: Path
) -> None:
    _, receipts = honest
    other = open_ledger(tmp_path / "other")
    full_run(other, rounds=4)
    other.countersign(receipt_of(other, SHOP))
    full_run(other, "r2", rounds=1)
    fault = verdict_of(tmp_path / "other", receipts).fault
    assert fault.startswith(f"line {receipts[0].entry} is not the one that the server signed")


def test_a_lost_tail_fails_by_the_servers_receipts_alone(
    honest: tuple[Path, list[Receipt]],
) -> None:
    folder, receipts = honest
    path = folder / "north.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    assert not verdict_of(folder, receipts).ok
    assert verdict_of(folder, receipts[:1]).ok


def test_anybodys_receipts_make_no_honest_ledger_fail(
    honest: tuple[Path, list[Receipt]],
) -> None:
    folder, receipts = honest
    stranger = SigningKey.generate()
    false = [
        sign_last_line(stranger, shop="north", entry=3, head="0" * 64),
        sign_last_line(stranger, shop="north", entry=900, head="1" * 64),
        sign_last_line(stranger, shop="elsewhere", entry=0, head="2" * 64),
    ]
    for pinned in (PINNED, None):
        found = verdict_of(folder, [*false, *receipts], pinned=pinned)
        assert found.ok, found.fault
        assert any(f"{2 if pinned else 4} receipts of north" in text for text in found.unchecked)


def test_what_the_server_did_not_sign_is_said_to_be_the_owners_word(
    honest: tuple[Path, list[Receipt]],
) -> None:
    folder, receipts = honest
    whole, middle = verdict_of(folder, receipts), verdict_of(folder, [])
    assert (whole.signed, middle.signed) == (receipts[1].entry, receipts[0].entry)
    assert f"what came after line {receipts[0].entry}, the last that" in middle.owner_word
    unpinned = verdict_of(folder, receipts, pinned=None)
    assert (unpinned.ok, unpinned.server_key, unpinned.signed) == (True, None, None)
    assert "prove nothing about the server" in unpinned.owner_word
    assert "signatures of the server" not in " ".join(unpinned.checked)
    assert not any("heads that" in text for text in unpinned.checked)


def test_receipts_that_stopped_a_node_count_without_being_named(
    honest: tuple[Path, list[Receipt]],
) -> None:
    folder, receipts = honest
    ahead = sign_last_line(SERVER, shop="north", entry=40, head="a" * 64)
    keep_receipts(folder / "keys" / "north.receipts", [*receipts, ahead])
    (pinned,) = verify_all(folder, EvidenceSources(server_key=PINNED))
    assert "line 40 is missing, which the server signed" in pinned.fault
    (unpinned,) = verify_all(folder, EvidenceSources())
    assert unpinned.ok


def test_the_file_that_was_named_comes_before_an_invitation_and_neither_is_needed(
    honest: tuple[Path, list[Receipt]], tmp_path: Path
) -> None:
    folder, _ = honest
    assert pinned_key(folder) is None
    file = tmp_path / "server.pub"
    file.write_text(SERVER.public + "\n")
    named = pinned_key(folder, file=file)
    assert named is not None
    assert (named.key, named.source) == (SERVER.public, "of server.pub")
    (tmp_path / "invitation.json").write_text("{}")
    for ledgers in (folder, folder / "north.jsonl"):
        with pytest.raises(ConfigError, match="invitation"):
            pinned_key(ledgers)
    assert pinned_key(folder, file=file) == named


def test_the_report_says_what_rests_on_the_owners_word(
    honest: tuple[Path, list[Receipt]], tmp_path: Path
) -> None:
    folder, receipts = honest
    file, kept = tmp_path / "server.pub", tmp_path / "kept.jsonl"
    file.write_text(SERVER.public)
    keep_receipts(kept, receipts[:1])
    arguments = ["privacy", "report", str(folder)]
    pinned = [*arguments, "--server-key", str(file), "--receipts", str(kept)]
    for command, words in ((arguments, "no server's key is pinned"), (pinned, "what came after")):
        said = CliRunner().invoke(root, command)
        assert said.exit_code == 0
        assert f"On the owner's word alone: {'that' if command is arguments else words}" in (
            said.output
        )
        assert words in said.output
        page = tmp_path / f"{len(command)}.html"
        assert CliRunner().invoke(root, [*command, "--out", str(page)]).exit_code == 0
        assert "On the owner&#39;s word alone" in page.read_text()
    found = json.loads(CliRunner().invoke(root, [*pinned, "--json"]).output)["shops"][0]
    assert found["verification"]["signed"] == receipts[0].entry
    # The receipts are of the real server and the ledger has lost what they say: no guarantee.
    keep_receipts(kept, [sign_last_line(SERVER, shop="north", entry=40, head="a" * 64)])
    failed = CliRunner().invoke(root, pinned)
    assert failed.exit_code == 1
    assert "No guarantee is stated for north" in failed.output
