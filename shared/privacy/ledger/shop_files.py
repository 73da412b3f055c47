"""Where a shop's ledger, its key and its anchor are, and how they are named.

The anchor holds the last line's hash and the public key of the genesis. It lies with the key, apart
from the ledger, so that a ledger restored from an old copy shows on the shop's own machine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, unquote

from pydantic import Field, ValidationError

from shared.errors import PrivacyError
from shared.privacy.ledger.entries import Digest, Record, canonical
from shared.privacy.ledger.keys import SigningKey
from shared.privacy.ledger.storage import replace_file

LEDGER, KEY, NEXT_KEY, ANCHOR = ".jsonl", ".key", ".next-key", ".anchor"
KEYS = "keys"
"""Folder beside the ledgers, for keys and anchors."""


class Anchor(Record):
    """What the owner knows of a ledger without opening it."""

    shop: str
    """Whose ledger."""
    public_key: Digest
    """Key of the genesis."""
    entry: Annotated[int, Field(ge=0)]
    """Number of the last acknowledged line, or of one before it."""
    head: Digest
    """Hash of that line."""


@dataclass(frozen=True)
class ShopFiles:
    """Paths of one shop.

    Attributes:
        ledger: The ledger's file, `<shop>.jsonl`.
        keys: Folder of key and anchor.
    """

    ledger: Path
    keys: Path

    @classmethod
    def of(cls, folder: Path, shop: str, *, keys: Path | None = None) -> ShopFiles:
        """Names the files of a shop in a folder of ledgers."""
        return cls(folder / (file_stem(shop) + LEDGER), keys or folder / KEYS)

    @property
    def stem(self) -> str:
        """Name of the ledger's file without its ending."""
        return self.ledger.name.removesuffix(LEDGER)

    @property
    def key(self) -> Path:
        """The private key."""
        return self.keys / (self.stem + KEY)

    @property
    def next_key(self) -> Path:
        """The private key that a rotation is about to bring in."""
        return self.keys / (self.stem + NEXT_KEY)

    @property
    def anchor(self) -> Path:
        """The anchor."""
        return self.keys / (self.stem + ANCHOR)


def file_stem(shop: str) -> str:
    """Returns a file name for a shop, whatever characters its name has."""
    return quote(shop, safe=" ")


def shop_of(ledger: Path) -> str:
    """Returns the shop that a ledger's file name stands for."""
    return unquote(ledger.name.removesuffix(LEDGER))


def make_key(files: ShopFiles) -> None:
    """Makes a shop's first key, unless another process has just made it.

    Raises:
        PrivacyError: The disk refused, or a ledger exists whose key is lost.
    """
    if files.ledger.exists() and files.ledger.stat().st_size and not files.key.exists():
        raise PrivacyError(
            f"key={files.key} is missing, but its ledger exists; restore the key from its backup"
        )
    try:
        SigningKey.generate().save(files.key)
    except PrivacyError:
        if not files.key.exists():  # else another process made it first
            raise


def write_anchor(path: Path, anchor: Anchor) -> None:
    """Replaces an anchor.

    Raises:
        PrivacyError: The disk refused.
    """
    replace_file(path, canonical(anchor.model_dump()) + b"\n")


def read_anchor(path: Path) -> Anchor | None:
    """Reads an anchor; None where there is none, or only an empty file after a power failure.

    Raises:
        PrivacyError: The file holds something else.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PrivacyError(f"anchor={path} cannot be read ({error.strerror})") from error
    if not content.strip(b"\0"):
        return None
    try:
        return Anchor.model_validate(json.loads(content))
    except (ValueError, ValidationError) as error:
        raise PrivacyError(
            f"anchor={path} is damaged; verify the ledger against the server's receipts, then "
            "delete the anchor"
        ) from error


def find_ledgers(path: Path) -> tuple[Path, ...]:
    """Returns a ledger file, or all ledgers of a folder by name.

    Raises:
        PrivacyError: There is none.
    """
    if path.is_dir():
        found = tuple(sorted(path.glob(f"*{LEDGER}")))
        if found:
            return found
        raise PrivacyError(f"folder={path} holds no ledger (*{LEDGER}); name a folder of ledgers")
    if not path.is_file():
        raise PrivacyError(f"ledger={path} does not exist; name a ledger or a folder of them")
    return (path,)
