"""Where the passphrase of the keys comes from, and how it is changed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from shared.deploy.key_files import open_key_file_with
from shared.deploy.owner_files import read_owner_file, write_owner_file
from shared.errors import ConfigError
from shared.privacy.key_lock import LOCK, LONGEST, key_pem


def read_passphrase(path: Path) -> bytes:
    """Reads a passphrase; a line's end after it is not part of it.

    Raises:
        ConfigError: The file is missing, readable by others, empty or too long.
    """
    content = read_owner_file(path, remedy="give a file with the passphrase").rstrip(b"\r\n")
    if not 0 < len(content) < LONGEST:
        raise ConfigError(
            f"passphrase file={path} holds {len(content)} bytes, must hold 1 to {LONGEST - 1}; "
            "write the passphrase into it"
        )
    return content


def _unlock(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:  # noqa: ARG001
    def ask() -> bytes:
        answer: str = click.prompt("Passphrase of the keys", hide_input=True, err=True)
        return answer.encode()

    passphrase = None if path is None else read_passphrase(path)
    LOCK.set(passphrase, ask=ask if sys.stdin.isatty() else None)


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
PLAIN = click.option("--plain", is_flag=True, help="Store the keys without a passphrase.")
"""The other option of these commands: one of the two must be given."""


def new_passphrase(path: Path | None, *, plain: bool) -> bytes | None:
    """Returns the passphrase that keys shall get, None for none.

    Raises:
        ConfigError: Neither or both were chosen, or the file cannot be used.
    """
    if plain is (path is not None):
        given = "both" if plain else "none"
        raise ConfigError(
            f"passphrase: {given} of --new-passphrase-file FILE and --plain given, must be one; "
            "give FILE to encrypt the keys, or --plain to store them without a passphrase"
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
        write_owner_file(path, key_pem(key, new))
    return list(keys)
