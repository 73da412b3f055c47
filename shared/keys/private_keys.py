"""Secrets on disk: private keys, encrypted under their owner's passphrase where there is one.

A process has one passphrase. Keys are opened by ledgers, releases and certificates, in processes
that are made for one request: each gets the passphrase through a pipe and sets it here.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from shared.errors import ConfigError

MAX_PASSPHRASE_BYTES = 1024
"""Bytes of a passphrase; OpenSSL takes no more."""
_OPENSSH, _ENCRYPTED = b"BEGIN OPENSSH PRIVATE KEY", b"BEGIN ENCRYPTED PRIVATE KEY"


class PassphraseHolder:
    """The passphrase of this process."""

    def __init__(self) -> None:
        self._passphrase: bytes | None = None
        self._ask: Callable[[], bytes] | None = None

    def set(self, passphrase: bytes | None, *, ask: Callable[[], bytes] | None = None) -> None:
        """Sets the passphrase, or how to ask for it once a key turns out to need one."""
        self._passphrase, self._ask = passphrase, ask

    @property
    def passphrase(self) -> bytes | None:
        """The passphrase, None where none was given so far."""
        return self._passphrase

    def needed(self, path: Path) -> bytes:
        """Returns the passphrase for an encrypted key, asking for it where that is possible.

        Raises:
            ConfigError: There is none.
        """
        if self._passphrase is None and self._ask is not None:
            self._passphrase = self._ask()
        if self._passphrase is None:
            raise ConfigError(
                "is encrypted",
                name="key",
                value=path,
                remedy="give its passphrase with --passphrase-file, or start at a terminal",
            )
        return self._passphrase


PASSPHRASE = PassphraseHolder()
"""Of this process."""


def open_key(pem: bytes, path: Path, *, lock: PassphraseHolder = PASSPHRASE) -> Any:
    """Returns a private key.

    Args:
        pem: PKCS 8 or OpenSSH, PEM.
        path: Where it was read, for the error.
        lock: Holds the passphrase.

    Raises:
        ConfigError: The passphrase is missing or wrong, or one was given for a key that has none.
        ValueError: It is no private key, or encrypted in another form than PKCS 8.
    """
    if _ENCRYPTED in pem:
        passphrase = lock.needed(path)
        try:
            return load_pem_private_key(pem, passphrase)
        except UnsupportedAlgorithm as error:
            raise ValueError("encrypted in another form") from error
        except ValueError as error:
            raise ConfigError(
                f"passphrase: does not open key={path}",
                remedy="give the right one, nothing was changed",
            ) from error
    key = _open_plain(pem)
    if lock.passphrase is not None:
        raise ConfigError(
            "is not encrypted, but a passphrase was given",
            name="key",
            value=path,
            remedy="encrypt it with `fedprofile node passphrase --new-passphrase-file FILE`, or "
            "`fedprofile server passphrase` with the same option",
        )
    return key


def key_pem(key: Any, passphrase: bytes | None) -> bytes:
    """Returns a private key as PKCS 8 in PEM, encrypted where there is a passphrase."""
    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        encryption = BestAvailableEncryption(passphrase)
    content: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return content


def open_any(pem: bytes, path: Path, passphrases: tuple[bytes | None, ...]) -> Any:
    """Returns a private key that may be encrypted with any of some passphrases, or not at all.

    Raises:
        ConfigError: None of them opens it.
        ValueError: As `open_key`.
    """
    if _ENCRYPTED not in pem:
        return _open_plain(pem)
    for passphrase in filter(None, passphrases):
        lock = PassphraseHolder()
        lock.set(passphrase)
        try:
            return open_key(pem, path, lock=lock)
        except ConfigError:
            continue
    return open_key(pem, path)


def _open_plain(pem: bytes) -> Any:
    load = load_ssh_private_key if _OPENSSH in pem else load_pem_private_key
    try:
        return load(pem, None)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("encrypted in another form") from error


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
        return open_any(pem, path, (PASSPHRASE.passphrase, passphrase))
    except ValueError as error:
        raise _unreadable(path) from error


def _unreadable(path: Path) -> ConfigError:
    return ConfigError(
        "is no private key, or encrypted in another form than PKCS 8",
        name="key",
        value=path,
        remedy=_REMEDY,
    )


def read_owner_file(path: Path, *, remedy: str) -> bytes:
    """Reads a secret.

    Raises:
        ConfigError: It is missing, or others may read it.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot be read ({error.strerror})", name="file", value=path, remedy=remedy
        ) from error
    if mode & 0o077:
        raise ConfigError(
            f"has mode {mode:o}, which lets others read it",
            name="file",
            value=path,
            remedy=f"run chmod 600 {path}",
        )
    return content
