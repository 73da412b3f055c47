"""Private keys read from their owner's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shared.deploy.owner_files import read_owner_file
from shared.errors import ConfigError
from shared.privacy.key_lock import LOCK, open_any, open_key

_REMEDY = "restore it from its backup"


def open_key_file(path: Path) -> Any:
    """Returns the private key of a file, opened with this process's passphrase.

    Raises:
        ConfigError: The file is missing, readable by others or no key that can be read, or the
            passphrase is missing or wrong.
    """
    pem = read_owner_file(path, remedy=_REMEDY)
    try:
        return open_key(pem, path)
    except ValueError as error:
        raise _unreadable(path) from error


def open_key_file_with(path: Path, passphrase: bytes | None) -> Any:
    """Returns the private key of a file, which may be encrypted with one more passphrase.

    Raises:
        ConfigError: As `open_key_file`; a key without a passphrase opens too.
    """
    pem = read_owner_file(path, remedy=_REMEDY)
    try:
        return open_any(pem, path, (LOCK.passphrase, passphrase))
    except ValueError as error:
        raise _unreadable(path) from error


def _unreadable(path: Path) -> ConfigError:
    return ConfigError(
        f"key={path} is no private key, or encrypted in another form than PKCS 8; {_REMEDY}"
    )
