"""Options that commands share: the split of the budget and the passphrase of the keys."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from shared.errors import ConfigError
from shared.keys.private_keys import (
    MAX_PASSPHRASE_BYTES,
    PASSPHRASE,
    key_pem,
    open_key_file_with,
    read_owner_file,
)
from shared.runtime.file_store import write_atomic

PARTS = {
    "counts": "privacy.counts_share",
    "pairs": "privacy.pairs_share",
    "adapter": "privacy.adapter_share",
}
"""Name in the option -> setting."""
BUDGET_HELP = "Shares of the budget for counts, pairs and adapter; parts not named get 0."
EXAMPLE = "for example counts=0.2,pairs=0.6,adapter=0.2"


def parse_budget(text: str | None) -> dict[str, float]:
    """Reads the split of the budget; empty where nothing was said.

    Args:
        text: `part=share` separated by commas; parts that are not named get 0.

    Returns:
        Dotted setting -> share.

    Raises:
        ConfigError: A part is unknown or named twice, a share is no number from 0 to 1, or the sum
            is not 1.
    """
    if text is None:
        return {}
    shares: dict[str, float] = {}
    for entry in text.split(","):
        name, _, value = (word.strip() for word in entry.partition("="))
        if name not in PARTS:
            raise ConfigError(
                f"part must be one of {', '.join(PARTS)}",
                name="budget",
                value=f"{entry.strip()!r}",
                remedy=EXAMPLE,
            )
        if name in shares:
            raise ConfigError(
                f"{name} is named twice", name="budget", value=text, remedy="name it once"
            )
        shares[name] = _share(name, value)
    total = math.fsum(shares.values())
    if abs(total - 1) > 1e-9:
        raise ConfigError(
            f"shares add up to {total:g}, must be 1", name="budget", value=text, remedy=EXAMPLE
        )
    return {setting: shares.get(name, 0.0) for name, setting in PARTS.items()}


def _share(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise ConfigError(
            f"--budget {name}={text}: share must be a number from 0 to 1", remedy=EXAMPLE
        )
    return value


def read_passphrase(path: Path) -> bytes:
    """Reads a passphrase; a line's end after it is not part of it.

    Raises:
        ConfigError: The file is missing, readable by others, empty or too long.
    """
    content = read_owner_file(path, remedy="give a file with the passphrase").rstrip(b"\r\n")
    if not 0 < len(content) < MAX_PASSPHRASE_BYTES:
        raise ConfigError(
            f"passphrase file={path} holds {len(content)} bytes, must hold 1 to "
            f"{MAX_PASSPHRASE_BYTES - 1}",
            remedy="write the passphrase into it",
        )
    return content


def _unlock(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:  # noqa: ARG001
    def ask() -> bytes:
        answer: str = click.prompt("Passphrase of the keys", hide_input=True, err=True)
        return answer.encode()

    passphrase = None if path is None else read_passphrase(path)
    PASSPHRASE.set(passphrase, ask=ask if sys.stdin.isatty() else None)


PASSPHRASE_FILE = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    expose_value=False,
    callback=_unlock,
    help="File with the passphrase of the keys.  [default: ask at a terminal if they have one]",
)
"""Option of every command that opens or makes a private key."""
NEW_PASSPHRASE_FILE = click.option(
    "--new-passphrase-file",
    "new",
    type=click.Path(path_type=Path),
    help="File with the new passphrase.",
)
"""Option of the commands that change the passphrase."""
PLAIN_KEYS = click.option("--plain", is_flag=True, help="Store the keys without a passphrase.")
"""The other option of these commands: one of the two must be given."""


def new_passphrase(path: Path | None, *, plain: bool) -> bytes | None:
    """Returns the passphrase that keys shall get, None for none.

    Raises:
        ConfigError: Neither or both were chosen, or the file cannot be used.
    """
    if plain is (path is not None):
        named = "both" if plain else "none"
        raise ConfigError(
            f"passphrase: {named} of --new-passphrase-file FILE and --plain given, must be one",
            remedy="give FILE to encrypt the keys, or --plain to store them without a passphrase",
        )
    return None if path is None else read_passphrase(path)


def change_passphrase(paths: Iterable[Path], new: bytes | None) -> list[Path]:
    """Writes private keys under a new passphrase, each whole or not at all.

    All are opened before the first is written. A crash in between leaves some under the new one:
    the same command goes on from there.

    Args:
        paths: Key files; missing ones are left out.
        new: None stores them in plain.

    Raises:
        ConfigError: A key cannot be opened; nothing was changed.
        StorageError: The disk refused.
    """
    keys = {path: open_key_file_with(path, new) for path in paths if path.exists()}
    for path, key in keys.items():
        write_atomic(path, key_pem(key, new), durable=True, private=True)
    return list(keys)
