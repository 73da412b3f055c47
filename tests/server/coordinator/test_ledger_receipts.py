"""The server signs a head only where the ledger goes on from the last one that it signed."""

from __future__ import annotations

from pathlib import Path

import pytest
from flwr.app import ConfigRecord

from server.coordinator.ledger_receipts import (
    MAX_ACCOUNT,
    ReceiptIssuer,
    StatedHead,
    last_receipt,
    refused_head,
)
from shared.keys.signing import SigningKey, canonical
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger.log.entries import StatedAccount
from shared.privacy.ledger.log.receipts import keep_receipts, sign_last_line

STEPS = Mechanism("dp-sgd", 4.0, 1.0, 4, 0.01)
ACCOUNT = StatedAccount(public_key="1" * 64, planned=(STEPS,), adaptive=())


def head(entry: int, letter: str = "a", **changes: object) -> StatedHead:
    return StatedHead(entry, letter * 64, ACCOUNT.model_copy(update=changes))


@pytest.fixture
def issuer(tmp_path: Path) -> ReceiptIssuer:
    return ReceiptIssuer(tmp_path, SigningKey.generate())


def test_a_ledger_that_goes_on_is_signed_with_its_account(issuer: ReceiptIssuer) -> None:
    first = issuer.accept("north", head(3))
    assert first is not None
    assert first.holds()
    assert first.account == ACCOUNT
    assert issuer.accept("north", head(3)) == first
    second = issuer.accept("north", head(5, "b"))
    assert issuer.last("north") == second == last_receipt(issuer.folder, "north")
    assert issuer.last("south") is None


@pytest.mark.parametrize(
    ("stated", "fault"),
    [
        (head(2, "b"), "went back"),
        (head(3, "b"), "went back"),
        (head(-1, "c"), "went back"),
        (head(5, "x"), "is no line"),
        (StatedHead(5, "b" * 64, None), "without the account"),
        (head(5, "b", planned=()), "forgets"),
        (head(5, "b", public_key="2" * 64), "another key"),
        (head(5, "b", restorations=1, restored="b" * 64), "without the last line"),
        (head(2, "b", restorations=1, restored="a" * 64, planned=()), "forgets"),
    ],
)
def test_what_does_not_go_on_is_refused_and_shown(
    issuer: ReceiptIssuer, caplog: pytest.LogCaptureFixture, stated: StatedHead, fault: str
) -> None:
    first = issuer.accept("north", head(3))
    assert issuer.accept("north", stated) is None
    assert issuer.last("north") == first
    refused = refused_head(issuer.folder, "north")
    assert refused is not None
    assert fault in refused["fault"]
    assert refused["entry"] == stated.entry
    assert "its head is not signed" in caplog.text
    assert issuer.accept("north", head(4, "d")) is not None
    assert refused_head(issuer.folder, "north") is None


def test_a_restored_ledger_names_the_last_head_and_counts_it(issuer: ReceiptIssuer) -> None:
    issuer.accept("north", head(9))
    back = head(4, "b", restorations=1, restored="a" * 64)
    assert issuer.accept("north", back) is not None
    assert issuer.accept("north", head(5, "c", restorations=1, restored="a" * 64)) is not None
    assert issuer.accept("north", head(10, "d")) is None  # the old branch
    assert issuer.accept("north", head(4, "e", restorations=2, restored="b" * 64)) is None
    assert issuer.accept("north", head(4, "e", restorations=2, restored="c" * 64)) is not None
    last = issuer.last("north")
    assert last is not None
    assert (last.entry, last.head) == (4, "e" * 64)


def test_a_new_key_needs_an_invitation_after_the_last_head(issuer: ReceiptIssuer) -> None:
    last = issuer.accept("north", head(9))
    assert last is not None
    new = {"public_key": "2" * 64, "restorations": 1, "restored": last.head}
    for after in ({}, {"north": None}, {"north": "c" * 64}, {"south": last.head}):
        assert (
            ReceiptIssuer(issuer.folder, issuer.key, after).accept("north", head(3, "b", **new))
            is None
        )
    invited = ReceiptIssuer(issuer.folder, issuer.key, {"north": last.head})
    assert invited.accept("north", head(99, "b", public_key="2" * 64)) is None  # counts nothing
    assert invited.accept("north", head(3, "b", **new)) is not None
    assert issuer.accept("north", head(4, "c", **new)) is not None
    assert issuer.accept("north", head(10, "d")) is None


def test_heads_that_an_earlier_version_signed_go_on(issuer: ReceiptIssuer) -> None:
    old = sign_last_line(issuer.key, shop="north", entry=3, head="a" * 64)
    keep_receipts(issuer.folder / "north.jsonl", [old])
    assert issuer.accept("north", head(2, "b")) is None
    assert issuer.accept("north", head(4, "b")) is not None


def test_what_a_shop_states_is_read_with_bounds() -> None:
    account = canonical(ACCOUNT.model_dump(mode="json")).decode()
    record = {"entry": 3, "head": "a" * 64}
    assert StatedHead.of(None) is None
    assert StatedHead.of(ConfigRecord({"entry": "3", "head": "a"})) is None
    assert StatedHead.of(ConfigRecord({**record, "account": account})) == head(3)
    for false in ("", "{", account + " " * MAX_ACCOUNT, account.replace("dp-sgd", "dp")):
        stated = StatedHead.of(ConfigRecord({**record, "account": false}))
        assert stated == StatedHead(3, "a" * 64, None)
