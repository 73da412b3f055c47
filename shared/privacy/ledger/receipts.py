"""Heads that a server signed: kept outside the shop, they show a ledger that went back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from shared.errors import PrivacyError
from shared.privacy.ledger.entries import Digest, Record, Signature, canonical
from shared.privacy.ledger.keys import SigningKey, verifies


class Receipt(Record):
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

    def holds(self) -> bool:
        """Says whether the signature is of `server_key`."""
        return verifies(
            self.server_key, receipt_bytes(self.shop, self.entry, self.head), self.signature
        )


def receipt_bytes(shop: str, entry: int, head: str) -> bytes:
    """Returns what a server signs."""
    return f"fedprofile head\n{entry}\n{head}\n{shop}".encode()


def sign_head(key: SigningKey, *, shop: str, entry: int, head: str) -> Receipt:
    """Signs the head that came with an accepted release; the server's part.

    Args:
        key: The server's.
        shop: Whose ledger.
        entry: Number of its last line.
        head: Hash of its last line.
    """
    return Receipt(
        shop=shop,
        entry=entry,
        head=head,
        server_key=key.public,
        signature=key.sign(receipt_bytes(shop, entry, head)),
    )


def keep_receipts(path: Path, receipts: Iterable[Receipt]) -> None:
    """Adds receipts to a file of JSON lines, as a server or an officer keeps them.

    Raises:
        PrivacyError: The file cannot be written.
    """
    lines = b"".join(canonical(receipt.model_dump()) + b"\n" for receipt in receipts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(lines)
    except OSError as error:
        raise PrivacyError(
            f"receipts={path} cannot be written ({error.strerror}); free space, then try again"
        ) from error


def read_receipts(path: Path) -> tuple[Receipt, ...]:
    """Reads a file of receipts.

    Raises:
        PrivacyError: The file cannot be read, or a line is no receipt or not signed by its key.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PrivacyError(f"receipts={path} cannot be read ({error}); check the path") from error
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            receipt = Receipt.model_validate(json.loads(line))
        except (ValueError, ValidationError) as error:
            raise PrivacyError(
                f"receipts={path}, line {number}: not a receipt; keep the file that the server "
                "wrote"
            ) from error
        if not receipt.holds():
            raise PrivacyError(
                f"receipts={path}, line {number}: the signature does not fit its key; keep the "
                "file that the server wrote"
            )
        found.append(receipt)
    return tuple(found)
