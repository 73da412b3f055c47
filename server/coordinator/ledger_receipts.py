"""Receipts for the shops' ledgers: the server signs a head only where it goes on from the last one.

A ledger that went back to an older copy, was forked, or began anew under another key is refused,
which `fedprofile server status` shows, until its owner has restored it: its account then names the
last head and holds at least what that head's account held.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord
from pydantic import ValidationError

from shared.errors import StorageError
from shared.keys.signing import SigningKey, canonical
from shared.privacy.ledger.log.entries import StatedAccount
from shared.privacy.ledger.log.lost_lines import steps_beyond
from shared.privacy.ledger.log.receipts import (
    Receipt,
    keep_receipts,
    read_last_receipt,
    sign_last_line,
)
from shared.privacy.ledger.log.shop_files import file_stem
from shared.runtime.file_store import write_atomic

LOG = logging.getLogger("fedprofile.server")
LEDGER_REFUSED = "ledger"
"""Refusal of a release whose ledger does not go on from the last head that was signed."""
BACK = "went back, or was rewritten"
MAX_ACCOUNT = 200_000
"""Characters of a stated account; an honest one has a few hundred a run."""


@dataclass(frozen=True)
class StatedHead:
    """What a shop says of its ledger beside a reply.

    Attributes:
        entry: Number of the last line.
        head: Its hash.
        account: What was reserved up to it; None where that cannot be read.
    """

    entry: int
    head: str
    account: StatedAccount | None

    @classmethod
    def of(cls, record: ConfigRecord | None) -> StatedHead | None:
        """Reads the record of a reply; None where there is none or it names no line."""
        if record is None or not isinstance(record.get("entry"), int):
            return None
        content, account = str(record.get("account", "")), None
        if len(content) <= MAX_ACCOUNT:
            try:
                account = StatedAccount.model_validate_json(content)
            except ValidationError:
                account = None
        return cls(int(str(record["entry"])), str(record.get("head")), account)


def receipts_file(folder: Path, shop: str) -> Path:
    """Names a shop's file in a folder of receipts: what its owner restores a ledger with."""
    return folder / f"{file_stem(shop)}.jsonl"


def last_receipt(folder: Path, shop: str) -> Receipt | None:
    """Returns the newest receipt of a shop in a folder of receipts."""
    path = receipts_file(folder, shop)
    return read_last_receipt(path) if path.exists() else None


def refused_head(folder: Path, shop: str) -> dict[str, Any] | None:
    """Returns the head that was refused last, with the reason; None once a later one is signed."""
    try:
        refused: dict[str, Any] = json.loads(_refused_file(folder, shop).read_bytes())
    except (OSError, ValueError):
        return None
    return refused


def _refused_file(folder: Path, shop: str) -> Path:
    return folder / f"{file_stem(shop)}.refused"


@dataclass(frozen=True)
class ReceiptIssuer:
    """Signs the heads of the shops' ledgers and remembers the last one of each.

    Attributes:
        folder: One file of receipts a shop.
        key: The server's.
        invited_after: Head that was the last one when a shop was invited, by shop: its next ledger
            may have another key.
    """

    folder: Path
    key: SigningKey
    invited_after: Mapping[str, str | None] = field(default_factory=dict)

    def last(self, shop: str) -> Receipt | None:
        """Returns the newest receipt of a shop."""
        return last_receipt(self.folder, shop)

    def accept(self, shop: str, stated: StatedHead) -> Receipt | None:
        """Signs a head, unless the ledger does not go on from the last one.

        Raises:
            PrivacyError: The receipts cannot be read or written.
        """
        last = self.last(shop)
        if last is not None and (stated.entry, stated.head) == (last.entry, last.head):
            self._forget_refusal(shop)
            return last
        fault = self._fault(shop, last, stated)
        if fault:
            self._refuse(shop, stated, fault)
            return None
        try:
            receipt = sign_last_line(
                self.key,
                shop=shop,
                entry=stated.entry,
                head=stated.head,
                account=stated.account,
            )
        except ValidationError:
            self._refuse(shop, stated, "is no line of a ledger")
            return None
        keep_receipts(receipts_file(self.folder, shop), [receipt])
        self._forget_refusal(shop)
        return receipt

    def _fault(self, shop: str, last: Receipt | None, stated: StatedHead) -> str:
        """Says why a ledger does not go on from the last head; empty where it does."""
        account = stated.account
        if account is None:
            return "comes without the account of what was reserved"
        if last is None:
            return ""
        before = last.account
        if before is None:  # signed by an earlier version
            return BACK if stated.entry <= last.entry else ""
        new_key = account.public_key != before.public_key
        if new_key and self.invited_after.get(shop) != last.head:
            return "has another key, and the shop was not invited again"
        if account.restorations > before.restorations:
            if account.restored != last.head:
                return "was restored without the last line that was signed"
        elif new_key or account.restorations < before.restorations or stated.entry <= last.entry:
            return BACK
        reserved = (*account.planned, *account.adaptive)
        if steps_beyond((*before.planned, *before.adaptive), reserved):
            return "forgets what was reserved"
        return ""

    def _refuse(self, shop: str, stated: StatedHead, fault: str) -> None:
        last = self.last(shop)
        LOG.error(
            "ledger of shop=%s, line %d after line %s, %s; its head is not signed",
            shop,
            stated.entry,
            "none" if last is None else last.entry,
            fault,
            extra={"shop": shop},
        )
        # A full disk is no reason to take the release, nor to end the run.
        time = datetime.now(UTC).isoformat(timespec="seconds")
        content = {"entry": stated.entry, "fault": fault, "time": time}
        path = _refused_file(self.folder, shop)
        try:
            write_atomic(path, canonical(content), durable=False, private=True)
        except StorageError as error:
            LOG.error("not noted for `server status`: %s", error)

    def _forget_refusal(self, shop: str) -> None:
        _refused_file(self.folder, shop).unlink(missing_ok=True)
