"""A shop's files: ledger, key and anchor, and copies of what it released, with digests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from shared.errors import PrivacyError
from shared.keys.signing import SigningKey
from shared.runtime.file_store import write_atomic


def digest_arrays(arrays: Mapping[str, npt.NDArray[Any]], *context: str | int) -> str:
    """Returns the SHA-256 of arrays with their names, types and shapes.

    Args:
        arrays: By name; their order does not matter.
        *context: What else belongs to them, such as the round.
    """
    state = hashlib.sha256(repr(context).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        state.update(f"{name!r} {array.dtype.str} {array.shape}\n".encode())
        state.update(array.tobytes())
    return state.hexdigest()


def digest_file(path: Path) -> str:
    """Returns the SHA-256 of a file.

    Raises:
        PrivacyError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PrivacyError(
            f"cannot be read ({error.strerror})",
            name="file",
            value=path,
            remedy="check the path and who may read it",
        ) from error


LEDGER, KEY, NEXT_KEY, ANCHOR = ".jsonl", ".key", ".next-key", ".anchor"
RECEIPTS = ".receipts"
KEYS = "keys"
"""Folder beside the ledgers, for keys and anchors."""
NAME_LEDGER = "name a ledger file that this user may read"
"""Remedy where a ledger cannot be read."""


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

    @property
    def receipts(self) -> Path:
        """Receipts of lines that the ledger has lost, until they are restored."""
        return self.keys / (self.stem + RECEIPTS)


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
            "is missing, but its ledger exists",
            name="key",
            value=files.key,
            remedy="restore the key from its backup",
        )
    try:
        SigningKey.generate().save(files.key)
    except PrivacyError:
        if not files.key.exists():  # else another process made it first
            raise


def find_ledgers(path: Path) -> tuple[Path, ...]:
    """Returns a ledger file, or all ledgers of a folder by name.

    Raises:
        PrivacyError: There is none.
    """
    if path.is_dir():
        ledgers = tuple(sorted(path.glob(f"*{LEDGER}")))
        if ledgers:
            return ledgers
        raise PrivacyError(
            f"holds no ledger (*{LEDGER})",
            name="folder",
            value=path,
            remedy="name a folder of ledgers",
        )
    if not path.is_file():
        raise PrivacyError(
            "does not exist", name="ledger", value=path, remedy="name a ledger or a folder of them"
        )
    return (path,)


RELEASES = "releases"
"""Folder of the copies, within a run's folder."""


def release_path(folder: Path, shop: str, entry: int) -> Path:
    """Returns where the release of a ledger's line is kept."""
    return folder / RELEASES / file_stem(shop) / f"{entry:08d}.safetensors"


def keep_release(
    folder: Path, shop: str, entry: int, arrays: Mapping[str, npt.NDArray[Any]]
) -> Path:
    """Writes a release before it is committed.

    Raises:
        PrivacyError: The disk refused.
    """
    path = release_path(folder, shop, entry)
    write_atomic(
        path,
        save({n: np.ascontiguousarray(a) for n, a in arrays.items()}),
        durable=False,
        private=False,
        name="release",
        refusal=PrivacyError,
        remedy="free space or make the disk writable, then ask again",
    )
    return path


def read_release(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Reads a kept release.

    Raises:
        PrivacyError: The file cannot be read.
    """
    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise PrivacyError(
            f"cannot be read ({error})",
            name="release",
            value=path,
            remedy="restore it from its backup; the ledger knows its digest",
        ) from error


def find_release(
    folder: Path, shop: str, entry: int, digest: str
) -> dict[str, npt.NDArray[Any]] | None:
    """Returns the kept release of a line if it is there and what was committed."""
    path = release_path(folder, shop, entry)
    if not path.exists():
        return None
    arrays = read_release(path)
    return arrays if digest_arrays(arrays) == digest else None
