"""A server's signatures under the last lines of ledgers, and under what was reserved up to them.

Kept outside the shop, they show a ledger that went back to an older copy, and what the lines that
it lost had reserved.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from shared.errors import PrivacyError
from shared.keys.signing import Digest, Signature, SigningKey, canonical, is_signed_by
from shared.privacy.ledger.log.entries import LedgerRecord, StatedAccount
from shared.runtime.file_store import locked


class Receipt(LedgerRecord):
    """A server's signature under the head of a shop's ledger."""

    shop: str
    """Whose ledger."""
    entry: Annotated[int, Field(ge=0)]
    """Line whose hash was signed."""
    head: Digest
    """Hash of that line."""
    server_key: Digest
    """Public key of the server."""
    signature: Signature
    """Over shop, line and hash."""
    account: StatedAccount | None = None
    """What was reserved up to that line, as the shop said; None in receipts of earlier versions."""
    account_signature: Signature | None = None
    """Over shop, line, hash and account; None where there is no account."""

    def holds(self) -> bool:
        """Says whether the signatures are of `server_key`."""
        message = receipt_bytes(self.shop, self.entry, self.head)
        if not is_signed_by(self.server_key, message, self.signature):
            return False
        if self.account is None or self.account_signature is None:
            return self.account is None and self.account_signature is None
        message = account_bytes(self.shop, self.entry, self.head, self.account)
        return is_signed_by(self.server_key, message, self.account_signature)

    def counts_for(self, shop: str, server_key: str) -> bool:
        """Says whether it proves anything of a shop's ledger to whoever trusts one server's key.

        Anybody can make a key and sign with it: a receipt of another key than the one that was
        pinned (the invitation's, or the one an auditor was given) says nothing, for or against.
        """
        return (self.shop, self.server_key) == (shop, server_key) and self.holds()

    @property
    def place(self) -> tuple[int, int]:
        """Restorations before the line, and its number: a server signs in ascending order."""
        return (0 if self.account is None else self.account.restorations, self.entry)

    def line(self) -> bytes:
        """Returns the one spelling of the receipt."""
        return canonical(self.model_dump(mode="json", exclude_none=True))


def receipt_bytes(shop: str, entry: int, head: str) -> bytes:
    """Returns what a server signs."""
    return f"fedprofile head\n{entry}\n{head}\n{shop}".encode()


def account_bytes(shop: str, entry: int, head: str, account: StatedAccount) -> bytes:
    """Returns what a server signs of an account."""
    digest = hashlib.sha256(canonical(account.model_dump(mode="json"))).hexdigest()
    return f"fedprofile account\n{entry}\n{head}\n{digest}\n{shop}".encode()


def sign_last_line(
    key: SigningKey, *, shop: str, entry: int, head: str, account: StatedAccount | None = None
) -> Receipt:
    """Signs the head that came with an accepted release; the server's part.

    Args:
        key: The server's.
        shop: Whose ledger.
        entry: Number of its last line.
        head: Hash of its last line.
        account: What the shop says that it has reserved up to that line.
    """
    signed = None if account is None else key.sign(account_bytes(shop, entry, head, account))
    return Receipt(
        shop=shop,
        entry=entry,
        head=head,
        server_key=key.public,
        signature=key.sign(receipt_bytes(shop, entry, head)),
        account=account,
        account_signature=signed,
    )


def keep_receipts(path: Path, receipts: Iterable[Receipt]) -> None:
    """Adds receipts to a file of JSON lines, as a server or an officer keeps them.

    A last line that a killed process left unfinished is moved to `<path>.torn`.

    Raises:
        PrivacyError: The file cannot be written.
    """
    lines = b"".join(receipt.line() + b"\n" for receipt in receipts)
    with locked(path, name="receipts", remedy="free space, then try again", create=True) as file:
        content = file.read(0)
        whole = content.rfind(b"\n") + 1
        if whole < len(content):  # the process that wrote it was killed within a line
            file.set_aside(whole)
        file.append(lines)


def read_receipts(path: Path) -> tuple[Receipt, ...]:
    """Reads a file of receipts.

    Raises:
        PrivacyError: The file cannot be read, or a line is no receipt or not signed by its key.
    """
    return tuple(
        _parse_receipt(path, line, number) for number, line in enumerate(_lines(path), start=1)
    )


def read_last_receipt(path: Path) -> Receipt | None:
    """Reads the receipt that was added last; None in an empty file.

    Raises:
        PrivacyError: The file cannot be read, or its last line is no receipt or not signed by its
            key.
    """
    lines = _lines(path)
    return _parse_receipt(path, lines[-1], len(lines)) if lines else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")[:-1]  # a torn last line is no line
    except (OSError, UnicodeDecodeError) as error:
        raise PrivacyError(
            f"cannot be read ({error})", name="receipts", value=path, remedy="check the path"
        ) from error


def _parse_receipt(path: Path, line: str, number: int) -> Receipt:
    try:
        receipt = Receipt.model_validate(json.loads(line))
    except (ValueError, ValidationError) as error:
        raise PrivacyError(
            f"receipts={path}, line {number}: not a receipt",
            remedy="keep the file that the server wrote",
        ) from error
    if not receipt.holds():
        raise PrivacyError(
            f"receipts={path}, line {number}: the signature does not fit its key",
            remedy="keep the file that the server wrote",
        )
    return receipt
