"""Restored, cut and deleted ledgers: the node's real app releases nothing until they are resolved.

The coordinator's real receipts and checks answer it, without a network.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from client.cli import node as node_commands
from client.deploy.node_ledger import ledger_files, open_ledger
from client.deploy.node_process import node_status
from server.cli import server as server_commands
from server.coordinator.ledger_receipts import StatedHead, last_receipt, refused_head
from shared.errors import FedprofileError
from shared.keys.signing import SigningKey
from shared.privacy.ledger.log.receipts import keep_receipts, sign_last_line
from shared.privacy.ledger.reporting.evidence import EvidenceSources
from shared.privacy.ledger.reporting.verify import verify_all
from shared.protocol.messages import Arrays
from shared.protocol.server_key import pinned_key
from shared.runtime.file_store import make_folder
from shared.secure_aggregation.decisions import FolderDecisions
from tests.deploy.installing import Pair
from tests.deploy.requests import SHOP, Requests


@pytest.fixture
def asked(pair: Pair) -> Requests:
    """A run with counts and one round behind it."""
    requests = Requests(pair)
    assert_released(requests.counts())
    assert_released(requests.train(1))
    return requests


def assert_released(answer: Arrays | str) -> Arrays:
    assert not isinstance(answer, str), answer
    return answer


def epsilon(asked: Requests) -> float:
    return open_ledger(asked.pair.node).spent().bound


def restore(asked: Requests, *words: str) -> Result:
    line = ["ledger", "restore", "--dir", str(asked.pair.node.root), *words]
    return CliRunner().invoke(node_commands, line)


def refusal(result: Result) -> str:
    """The one line that a command ends in, with exit code 2."""
    assert isinstance(result.exception, FedprofileError), result
    assert result.exception.exit_code == 2
    assert "\n" not in str(result.exception)
    return str(result.exception)


def assert_nothing_leaves(asked: Requests) -> None:
    ledger = ledger_files(asked.pair.node).ledger
    before = ledger.read_bytes() if ledger.exists() else None
    for answer in (asked.counts(), asked.train(1), asked.train(2), asked.train(3), asked.counts(7)):
        assert answer == "privacy"
    assert (ledger.read_bytes() if ledger.exists() else None) == before


def assert_accounted(asked: Requests) -> None:
    """Ledger and server agree, for an auditor who has all of the server's receipts."""
    assert refused_head(asked.pair.server.receipts, SHOP) is None
    ledgers = asked.pair.node.ledgers
    sources = EvidenceSources(
        receipts=asked.receipts, releases=asked.pair.node.store, server_key=pinned_key(ledgers)
    )
    (verdict,) = verify_all(ledgers, sources)
    assert verdict.ok, verdict.fault


def test_a_whole_folder_restored_sends_no_second_release(asked: Requests) -> None:
    backup = asked.back_up()
    first = assert_released(asked.train(2))
    spent = epsilon(asked)
    asked.put_back(backup)
    assert_nothing_leaves(asked)
    refused = refused_head(asked.pair.server.receipts, SHOP)
    assert refused is not None
    assert refused["fault"] == "went back, or was rewritten"
    assert node_status(asked.pair.node)["lost"] == last_receipt(asked.receipts.parent, SHOP).entry  # type: ignore[union-attr]

    done = restore(asked, "--receipts", str(asked.receipts), "--json")
    assert done.exit_code == 0, done.exception
    report = json.loads(done.output)
    assert report["epsilon"] == pytest.approx(spent)  # the whole plan was reserved before the copy
    assert node_status(asked.pair.node)["lost"] is None
    again = assert_released(asked.train(2))
    assert any((first[name] != again[name]).any() for name in first)
    assert epsilon(asked) > spent  # two releases of one round, and both are paid
    assert_accounted(asked)
    assert_released(asked.train(3))
    assert_accounted(asked)


def test_a_restored_ledger_ends_the_secure_sums_of_its_node(asked: Requests) -> None:
    backup = asked.back_up()
    assert_released(asked.train(2))
    asked.put_back(backup)
    run = make_folder(asked.pair.node.sums / "run")
    for name in ("terms", "seed", "keys"):
        FolderDecisions(run).decide(name, name.encode())
    done = restore(asked, "--receipts", str(asked.receipts))
    assert done.exit_code == 0, done.exception
    assert sorted(path.name for path in run.iterdir()) == ["ended", "terms"]
    again = make_folder(asked.pair.node.sums / "next")
    FolderDecisions(again).decide("seed", b"seed")
    restore(asked, "--receipts", str(asked.receipts))
    assert [path.name for path in again.iterdir()] == ["seed"]  # nothing was lost this time


def test_without_the_server_s_file_a_restored_folder_counts_more_and_not_less(
    asked: Requests,
) -> None:
    backup = asked.back_up()
    assert_released(asked.counts(2))
    spent = epsilon(asked)
    asked.put_back(backup)
    assert_nothing_leaves(asked)
    done = restore(asked)
    assert done.exit_code == 0, done.exception
    assert f"-> {epsilon(asked):.4g}" in done.output
    assert epsilon(asked) >= spent
    assert_released(asked.train(2))
    assert_accounted(asked)
    assert "no line that the server signed is missing" in restore(asked).output


def test_an_old_ledger_beside_its_own_anchor_is_restored_with_receipts_alone(
    asked: Requests,
) -> None:
    files, old = ledger_files(asked.pair.node), asked.pair.node.root.parent / "old.jsonl"
    shutil.copy(files.ledger, old)
    assert_released(asked.train(2))
    spent = epsilon(asked)
    shutil.copy(old, files.ledger)
    assert_nothing_leaves(asked)
    assert "must be at least" in refusal(restore(asked))
    done = restore(asked, "--receipts", str(asked.receipts))
    assert done.exit_code == 0, done.exception
    assert epsilon(asked) == pytest.approx(spent)
    assert_released(asked.train(3))
    assert_accounted(asked)  # the copy of the lost round is out of the way of the new line's


@pytest.mark.parametrize("deleted", ["ledger", "key", "both", "empty"])
def test_a_deployed_node_never_begins_its_ledger_anew(asked: Requests, deleted: str) -> None:
    files, spent = ledger_files(asked.pair.node), epsilon(asked)
    before = files.ledger.read_bytes()
    if deleted == "empty":
        files.ledger.write_bytes(b"")
    if deleted in ("ledger", "both"):
        files.ledger.unlink()
    if deleted in ("key", "both"):
        shutil.rmtree(files.keys)
    names = sorted(p for p in asked.pair.node.ledgers.rglob("*"))
    assert_nothing_leaves(asked)
    start = CliRunner().invoke(node_commands, ["start", "--dir", str(asked.pair.node.root)])
    for result in (start, restore(asked)):
        assert "never begins its ledger anew by itself" in refusal(result)
    assert sorted(p for p in asked.pair.node.ledgers.rglob("*")) == names

    assert "needs the server's receipts" in refusal(restore(asked, "--new-ledger"))
    done = restore(asked, "--new-ledger", "--receipts", str(asked.receipts))
    assert done.exit_code == 0, done.exception
    assert epsilon(asked) == pytest.approx(spent)
    if deleted == "key":  # what was left is evidence
        assert (files.ledger.parent / f"{files.ledger.name}.lost-1").read_bytes() == before
    if deleted in ("key", "both"):
        # The node sends; the server takes nothing under a new key until the shop is invited again.
        assert asked.train(2) == "ledger"
        refused = refused_head(asked.pair.server.receipts, SHOP)
        assert refused is not None
        assert refused["fault"] == "has another key, and the shop was not invited again"
        last = last_receipt(asked.receipts.parent, SHOP)
        assert last is not None
        asked.invited_after[SHOP] = last.head
    assert_released(asked.train(3))
    assert epsilon(asked) > spent
    ledgers, nothing = asked.pair.node.ledgers, asked.pair.node.root / "nothing"
    nothing.mkdir()
    sources = EvidenceSources(
        receipts=asked.receipts, releases=nothing, server_key=pinned_key(ledgers)
    )
    (verdict,) = verify_all(ledgers, sources)
    assert verdict.ok, verdict.fault
    assert "is there and verifies" in refusal(
        restore(asked, "--new-ledger", "--receipts", str(asked.receipts))
    )


def test_a_cut_tail_with_its_anchor_deleted_admits_nothing(asked: Requests) -> None:
    files, spent = ledger_files(asked.pair.node), epsilon(asked)
    files.ledger.write_bytes(files.ledger.read_bytes().splitlines(keepends=True)[0])
    files.anchor.unlink()
    assert_nothing_leaves(asked)
    assert "is missing or empty" in refusal(restore(asked))
    done = restore(asked, "--receipts", str(asked.receipts))
    assert done.exit_code == 0, done.exception
    assert epsilon(asked) == pytest.approx(spent)
    assert_released(asked.train(2))
    assert_accounted(asked)


def test_a_server_with_an_old_state_gets_no_second_release(asked: Requests) -> None:
    server = asked.pair.server.root
    old = Path(shutil.copytree(server, server.parent / "old-server"))
    second = assert_released(asked.train(2))
    shutil.rmtree(server)
    shutil.copytree(old, server)
    again = assert_released(asked.train(2))  # the copy that was sent before
    assert all((second[name] == again[name]).all() for name in second)
    spent = epsilon(asked)
    assert_released(asked.train(3))
    assert epsilon(asked) == spent
    assert_accounted(asked)


def test_receipts_of_another_key_or_shop_stop_nothing(asked: Requests, tmp_path: Path) -> None:
    key = SigningKey.load(asked.pair.server.signing_key)
    account = open_ledger(asked.pair.node).chain.account()
    false = [
        sign_last_line(signer, shop=shop, entry=99, head="9" * 64, account=account)
        for signer, shop in ((SigningKey.generate(), SHOP), (key, "south"))
    ]
    for receipt in false:
        before = asked.receipts.read_bytes()
        keep_receipts(asked.receipts, [receipt])  # what the next request brings
        assert asked.counts() == "ledger"  # sent; what the server signed contradicts itself
        assert node_status(asked.pair.node)["lost"] is None
        asked.receipts.write_bytes(before)
    keep_receipts(tmp_path / "false.jsonl", false)
    assert "holds no receipt of north" in refusal(
        restore(asked, "--receipts", str(tmp_path / "false.jsonl"))
    )
    assert_released(asked.train(2))


def test_a_release_of_a_ledger_that_went_back_does_not_count_at_the_server(
    asked: Requests,
) -> None:
    """A shop that ignores receipts: an older version, or one that wants a second budget."""
    backup = asked.back_up()
    assert_released(asked.train(2))
    asked.put_back(backup)
    lines = asked.receipts.read_bytes()
    # Nothing tells the shop; the server knows all the same.
    ledger = open_ledger(asked.pair.node)
    issuer = asked.issuer()
    entry, head = ledger.last_line
    account = ledger.chain.account()
    assert issuer.accept(SHOP, StatedHead(entry, head, account)) is None
    longer = StatedHead(entry + 50, "5" * 64, account.model_copy(update={"planned": ()}))
    assert issuer.accept(SHOP, longer) is None
    assert refused_head(issuer.folder, SHOP)["fault"] == "forgets what was reserved"  # type: ignore[index]
    assert asked.receipts.read_bytes() == lines


def test_a_nodes_ledger_is_verified_by_the_key_of_its_invitation(
    asked: Requests, tmp_path: Path
) -> None:
    ledgers, server = asked.pair.node.ledgers, asked.pair.server
    printed = CliRunner().invoke(server_commands, ["key", "--dir", str(server.root)])
    assert printed.output == f"{server.server_key()}\n"
    (known,) = verify_all(ledgers, EvidenceSources(server_key=pinned_key(ledgers)))
    assert (known.server_key, known.signed) == (server.server_key(), 3)
    # A stranger's receipt, beside the real ones, is nothing; the real server's, unknown, is all.
    entry, head = open_ledger(asked.pair.node).last_line
    own = sign_last_line(SigningKey.generate(), shop=SHOP, entry=entry + 1, head=head)
    keep_receipts(tmp_path / "receipts.jsonl", [own])
    sources = EvidenceSources(receipts=tmp_path / "receipts.jsonl", server_key=pinned_key(ledgers))
    assert verify_all(ledgers, sources)[0].ok
    ahead = sign_last_line(
        SigningKey.load(server.signing_key), shop=SHOP, entry=entry + 1, head=head
    )
    keep_receipts(tmp_path / "receipts.jsonl", [ahead])
    assert "which the server signed" in verify_all(ledgers, sources)[0].fault
    report = node_status(asked.pair.node)
    assert report["countersigned"] == known.signed


def test_no_server_has_no_key_to_print(tmp_path: Path) -> None:
    printed = CliRunner().invoke(server_commands, ["key", "--dir", str(tmp_path)])
    assert "server.toml" in refusal(printed)
