"""The end of a run: every shop records the adapter it gave, and the server signs every head."""

from __future__ import annotations

from pathlib import Path

from shared.errors import PrivacyError
from shared.privacy.ledger.keys import SigningKey
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.receipts import Receipt, keep_receipts, sign_head
from shared.privacy.ledger.shop_files import find_ledgers


def finish_run(
    ledgers: Path, *, run: str, adapter: Path, folder: Path, server_key: Path
) -> tuple[Receipt, ...]:
    """Records a run's adapter in every ledger of a folder and countersigns the heads.

    For simulations, where one process holds the keys of all shops and of the server. Calling it
    again changes nothing but adds receipts.

    Args:
        ledgers: Folder of ledgers.
        run: Name of the run.
        adapter: The adapter's file, within `folder`.
        folder: The run's folder; `receipts.jsonl` is added to there.
        server_key: The server's key file; made if absent.

    Returns:
        The receipts, which whoever verifies later should hold a copy of.

    Raises:
        PrivacyError: A ledger does not verify, or the disk refused.
    """
    key = load_or_make_key(server_key)
    receipts = []
    for path in find_ledgers(ledgers):
        ledger = Ledger.open(path)
        ledger.record_adapter(run, adapter, folder=folder)
        entry, head = ledger.head
        receipt = sign_head(key, shop=ledger.shop, entry=entry, head=head)
        ledger.countersign(receipt)
        receipts.append(receipt)
    keep_receipts(folder / "receipts.jsonl", receipts)
    return tuple(receipts)


def load_or_make_key(path: Path) -> SigningKey:
    """Reads a key file, or makes it the first time.

    Raises:
        PrivacyError: It cannot be read or written.
    """
    if not path.exists():
        try:
            SigningKey.generate().save(path)
        except PrivacyError:
            if not path.exists():  # else another process made it first
                raise
    return SigningKey.load(path)
