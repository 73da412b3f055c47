"""A ledger that was restored from an older copy: nothing leaves until what it lost is counted."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.errors import PrivacyError
from shared.keys.signing import SigningKey
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.log.chain import check_reservation, check_round, replay
from shared.privacy.ledger.log.entries import LifetimeLimits, Round
from shared.privacy.ledger.log.lost_lines import RESTORED_RUN, steps_beyond
from shared.privacy.ledger.log.receipts import Receipt, keep_receipts, read_receipts, sign_last_line
from shared.privacy.ledger.reporting.evidence import EvidenceSources, PinnedKey
from shared.privacy.ledger.reporting.statement import guarantee_text
from shared.privacy.ledger.reporting.status import budget_status
from shared.privacy.ledger.reporting.verify import verify_all
from shared.privacy.ledger.spending import compose_spending
from simulation.audit.checks.spending_records import check_records, records_of_ledgers
from tests.shared.privacy.ledger.shop_ledgers import PLAN, START, counts, open_ledger, request
from tests.shared.privacy.ledger.sums import SHOPS, begin_run, decide

LIMITS = LifetimeLimits(epsilon=20.0, delta=1e-5)


@dataclass
class Shop:
    """A ledger in a folder and the server that signs its lines."""

    folder: Path
    server: SigningKey
    signed: list[Receipt]

    def open(self) -> Ledger:
        return open_ledger(self.folder, limits=LIMITS)

    def release(self, *numbers: int, run: str = "r1") -> None:
        """Releases rounds as a node does: receipt, reservation, commit, and the server signs."""
        for number in numbers:
            ledger = self.open()
            if self.signed:
                ledger.take_receipt(self.signed[-1])
            asked = request(number, run=run) if number else counts(run)
            ledger.commit(ledger.reserve(asked), f"{number:064x}")
            self.sign()

    def sign(self) -> Receipt:
        ledger = self.open()
        entry, head = ledger.last_line
        account = ledger.chain.account()
        self.signed.append(
            sign_last_line(self.server, shop="north", entry=entry, head=head, account=account)
        )
        return self.signed[-1]

    def back_up(self, name: str = "backup") -> Path:
        return Path(shutil.copytree(self.folder, self.folder.parent / name))

    def put_back(self, backup: Path) -> None:
        shutil.rmtree(self.folder)
        shutil.copytree(backup, self.folder)

    def verify(self) -> str:
        path = self.folder.parent / "receipts.jsonl"
        path.unlink(missing_ok=True)
        keep_receipts(path, self.signed)
        pinned = PinnedKey(self.server.public, "of the test")
        (verdict,) = verify_all(self.folder, EvidenceSources(receipts=path, server_key=pinned))
        return verdict.fault


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "ledgers", SigningKey.generate(), [])


def epsilon(*planned: Mechanism) -> float:
    return compose_spending(planned, (), delta=LIMITS.delta, filter=None).bound


def refused_until_restored(shop: Shop) -> Ledger:
    """Sees that nothing leaves, restores, and returns the open ledger."""
    ledger, before = shop.open(), (shop.folder / "north.jsonl").read_bytes()
    with pytest.raises(PrivacyError, match=r"restored from an older copy.*node ledger restore"):
        ledger.take_receipt(shop.signed[-1])
    for number in (1, 2, 5):
        with pytest.raises(PrivacyError, match="restored from an older copy"):
            shop.open().reserve(request(number))
        with pytest.raises(PrivacyError, match="restored from an older copy"):
            shop.open().committed(request(number))
    assert (shop.folder / "north.jsonl").read_bytes() == before
    assert shop.verify()
    ledger = shop.open()
    assert ledger.restore(shop.signed) == shop.signed[-1]
    assert not ledger.lost_lines()
    assert ledger.restore() is None
    assert not shop.verify()
    assert check_records(records_of_ledgers(shop.folder)).passed
    return ledger


def test_a_run_that_was_lost_is_counted_once_more_and_never_released_twice(shop: Shop) -> None:
    shop.release(0, 1)
    backup = shop.back_up()
    shop.release(2, 3)
    shop.release(0, 1, run="r2")  # adaptive: each round pays for itself
    lost = shop.open().spent()
    shop.put_back(backup)
    ledger = refused_until_restored(shop)
    assert ledger.spent() == lost  # the run's own rounds were paid when it was reserved
    account = budget_status(ledger.chain, now=START)
    assert (account.restored, account.rounds_reserved) == (1, 0)  # paid rounds may be lost ones
    assert account.epsilon == lost.bound
    assert "restored 1 times from a backup" in guarantee_text(ledger.chain, account)
    with pytest.raises(PrivacyError, match="is spent already"):
        ledger.reserve(request(1))
    # Round 2 left with the lost lines. A second one is another release: it pays for itself, and the
    # reservation of its run, of which nobody knows what was drawn, pays for nothing.
    before = ledger.spent().bound
    again = ledger.reserve(request(2))
    assert again.epsilon > before
    ledger.commit(again, "2" * 64)
    shop.sign()
    assert not shop.verify()
    assert check_records(records_of_ledgers(shop.folder)).passed


def test_what_was_reserved_after_the_copy_counts_on_top(shop: Shop) -> None:
    shop.open()
    backup = shop.back_up()
    shop.release(0, 1)
    shop.put_back(backup)
    ledger = refused_until_restored(shop)
    (reserved,) = ledger.chain.reservations.values()
    assert reserved.body.run == RESTORED_RUN
    assert ledger.spent().bound == pytest.approx(epsilon(*PLAN))
    shop.release(0, 1)  # the same plan once more: a second reservation, and adaptive
    planned, adaptive = (shop.open().chain.mechanisms(name) for name in ("planned", "adaptive"))
    assert planned == PLAN
    assert sum(m.steps for m in adaptive) == 2


def test_a_copy_of_a_copy_counts_all_branches(shop: Shop) -> None:
    """Restored, gone on, and restored from the first copy again: both lost branches count."""
    shop.open()
    first = shop.back_up("first")
    shop.release(0, 1)
    shop.put_back(first)
    refused_until_restored(shop)
    second = shop.back_up("second")
    shop.release(0, 1, run="r2")
    spent = shop.open().spent().bound
    for backup in (second, first):
        shop.put_back(backup)
        ledger = refused_until_restored(shop)
        assert ledger.spent().bound >= spent - 1e-9
        shop.release(0, run=f"after {backup.name}")
        spent = shop.open().spent().bound
    assert not shop.verify()


def test_a_restored_copy_that_released_on_its_own_counts_both_branches(shop: Shop) -> None:
    shop.release(0, 1)
    backup = shop.back_up()
    shop.release(2)
    shop.put_back(backup)
    own = shop.open()
    own.commit(own.reserve(request(2)), "9" * 64)  # before the receipt came
    ledger = refused_until_restored(shop)
    # Both branches drew round 2 from one reservation, which pays for one of them.
    assert ledger.spent().bound == pytest.approx(epsilon(*PLAN, request(2).mechanism))
    with pytest.raises(PrivacyError, match="is spent already"):
        ledger.reserve(request(2))


def test_the_whole_file_of_receipts_says_best_what_both_know(shop: Shop) -> None:
    shop.release(0)  # not countersigned in the copy
    backup = shop.back_up()
    shop.release(1, 2)
    shop.put_back(backup)
    ledger = shop.open()
    with pytest.raises(PrivacyError):
        ledger.take_receipt(shop.signed[-1])
    few = shop.back_up("few")
    ledger.restore(tuple(shop.signed))
    assert ledger.spent().bound == pytest.approx(epsilon(*PLAN))
    shop.put_back(few)
    ledger = shop.open()
    ledger.restore()  # the last receipt alone: the plan may be lost too, so it counts twice
    assert ledger.spent().bound == pytest.approx(epsilon(*PLAN, *PLAN))


def test_a_cut_tail_without_its_anchor_is_refused_and_restored_by_receipts(shop: Shop) -> None:
    shop.release(0, 1, 2)
    lost, path = shop.open().spent(), shop.folder / "north.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for content in (b"", None):
        path.write_bytes(lines[0])
        anchor = shop.folder / "keys" / "north.anchor"
        anchor.unlink() if content is None else anchor.write_bytes(content)
        for opens in (shop.open, lambda: Ledger.open(path)):
            with pytest.raises(PrivacyError, match=r"north.anchor is missing or empty.*restore"):
                opens()
    ledger = Ledger.open(path, anchored=False)
    ledger.restore(tuple(shop.signed))
    assert shop.open().spent() == lost
    path.write_bytes(lines[0])
    with pytest.raises(PrivacyError, match="must be at least 3"):
        shop.open()


def test_an_interrupted_restoration_releases_nothing_until_it_is_finished(shop: Shop) -> None:
    shop.open()
    backup = shop.back_up()
    shop.release(0, 1)
    spent = shop.open().spent()
    shop.put_back(backup)
    refused_until_restored(shop)
    path = shop.folder / "north.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    (shop.folder / "keys" / "north.anchor").write_bytes(
        (backup / "keys" / "north.anchor").read_bytes()
    )
    ledger = shop.open()
    with pytest.raises(PrivacyError, match="restoration was interrupted"):
        ledger.reserve(request(1))
    assert "not reserved again" in shop.verify()
    assert ledger.restore() is None
    assert ledger.spent() == spent
    assert not shop.verify()


def test_receipts_that_prove_nothing_stop_nothing(shop: Shop) -> None:
    shop.release(0)
    ledger, (receipt,) = shop.open(), shop.signed
    other = sign_last_line(shop.server, shop="south", entry=9, head="9" * 64)
    forged = receipt.model_copy(update={"entry": 9})
    smaller = receipt.model_copy(
        update={"account": receipt.account.model_copy(update={"planned": ()})}  # type: ignore[union-attr]
    )
    for false in (other, forged, smaller):
        with pytest.raises(PrivacyError, match="must be of north and signed by its key"):
            ledger.take_receipt(false)
    ledger.take_receipt(receipt)
    assert ledger.chain.countersigned == [receipt.entry]
    ledger.reserve(request(1))


def test_a_receipt_without_an_account_stops_the_ledger_and_restores_nothing(shop: Shop) -> None:
    shop.release(0)
    ledger = shop.open()
    old = sign_last_line(shop.server, shop="north", entry=9, head="9" * 64)
    assert b"account" not in old.line()  # as an earlier version spelled it
    with pytest.raises(PrivacyError, match="restored from an older copy"):
        ledger.take_receipt(old)
    with pytest.raises(PrivacyError, match="does not say what was reserved"):
        ledger.restore()
    with pytest.raises(PrivacyError, match="restored from an older copy"):
        ledger.reserve(request(1))


def test_the_chain_refuses_a_restoration_that_counts_less(shop: Shop) -> None:
    shop.open()
    backup = shop.back_up()
    shop.release(0, 1)
    shop.put_back(backup)
    ledger = refused_until_restored(shop)
    lines = (shop.folder / "north.jsonl").read_bytes().splitlines(keepends=True)
    chain, _ = replay(b"".join(lines[:2]))
    (owed,) = chain.owed
    assert owed.mechanisms == PLAN
    round_line = Round(
        reservation=0,
        run="r1",
        round=1,
        mechanism=PLAN[1],
        plan_digest="0" * 64,
        inputs="0" * 64,
    )
    with pytest.raises(PrivacyError, match="no lost line unpaid"):
        check_round(chain, round_line)
    paid = next(iter(ledger.chain.reservations.values())).body
    less = paid.model_copy(update={"mechanisms": PLAN[:1]})
    for false in (less, paid.model_copy(update={"run": "r1"})):
        with pytest.raises(PrivacyError, match="is not what the ledger owes"):
            check_reservation(chain, false)
    with pytest.raises(PrivacyError, match="is kept for lost lines"):
        check_reservation(ledger.chain, paid)
    with pytest.raises(PrivacyError, match="must be above 2"):
        check_round(ledger.chain, round_line.model_copy(update={"reservation": 2}))


def test_receipts_survive_their_file(shop: Shop, tmp_path: Path) -> None:
    shop.release(0, 1)
    keep_receipts(tmp_path / "r.jsonl", shop.signed)
    assert read_receipts(tmp_path / "r.jsonl") == tuple(shop.signed)
    whole = (tmp_path / "r.jsonl").read_bytes()
    (tmp_path / "r.jsonl").write_bytes(whole + whole[:40])  # killed within a line
    assert read_receipts(tmp_path / "r.jsonl") == tuple(shop.signed)
    keep_receipts(tmp_path / "r.jsonl", shop.signed[-1:])
    assert read_receipts(tmp_path / "r.jsonl") == (*shop.signed, shop.signed[-1])
    assert (tmp_path / "r.jsonl.torn").read_bytes() == whole[:40] + b"\n"


def test_steps_beyond_count_by_noise() -> None:
    much, little = Mechanism("dp-sgd", 4.0, 1.0, 3, 0.01), Mechanism("dp-sgd", 1.0, 1.0, 3, 0.01)
    assert steps_beyond((much, much), (much,)) == (much,)
    assert steps_beyond((little,), (much,)) == (little,)
    assert steps_beyond((much,), (much, much, little)) == ()


def test_a_sum_from_before_lost_lines_gets_no_second_set(shop: Shop) -> None:
    ledger = shop.open()
    begin_run(ledger)
    shop.sign()
    backup = shop.back_up()
    decide(ledger, SHOPS[:4])
    shop.sign()
    shop.put_back(backup)
    with pytest.raises(PrivacyError, match=r"restored from an older copy"):
        shop.open().take_receipt(shop.signed[-1])
    with pytest.raises(PrivacyError, match=r"restored from an older copy"):
        decide(shop.open(), SHOPS)
    ledger = shop.open()
    ledger.restore(shop.signed)
    with pytest.raises(PrivacyError, match="run=r1 has no round in this ledger"):
        decide(ledger, SHOPS)
    assert not shop.verify()
