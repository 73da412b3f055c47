"""Ed25519 keys and signatures (RFC 8032), and the canonical JSON that is signed.

Key files are for their owner alone to read.
"""

from __future__ import annotations

import json
import re
import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field

from shared.errors import ConfigError, PrivacyError
from shared.keys.private_keys import PASSPHRASE, key_pem, open_key
from shared.runtime.file_store import write_atomic

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 or an Ed25519 public key, in hexadecimal."""
Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
"""An Ed25519 signature, in hexadecimal."""


def canonical(value: object) -> bytes:
    """Returns the one spelling of a JSON value."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


@dataclass(frozen=True)
class SigningKey:
    """A private key.

    Attributes:
        private: The key itself.
    """

    private: Ed25519PrivateKey

    @classmethod
    def generate(cls) -> SigningKey:
        """Makes a new key from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """Reads a key file.

        Raises:
            PrivacyError: The file is missing, readable by others or not an Ed25519 key.
            ConfigError: Its passphrase is missing or wrong.
        """
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            pem = path.read_bytes()
        except OSError as error:
            raise PrivacyError(
                f"cannot be read ({error.strerror})",
                name="key",
                value=path,
                remedy="restore the key of this ledger",
            ) from error
        if mode & 0o077:
            raise PrivacyError(
                f"has mode {mode:o}, which lets others read it",
                name="key",
                value=path,
                remedy=f"run chmod 600 {path}",
            )
        try:
            private = open_key(pem, path)
        except (ValueError, TypeError) as error:
            raise PrivacyError(
                "is not a PEM key", name="key", value=path, remedy="restore the right file"
            ) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise PrivacyError(
                "must be an Ed25519 key", name="key", value=path, remedy="restore the right file"
            )
        return cls(private)

    def save(self, path: Path) -> None:
        """Writes a new key file for the owner alone, and makes it last.

        It is encrypted where this process has a passphrase.

        Raises:
            PrivacyError: The file exists or cannot be written.
        """
        write_atomic(
            path,
            key_pem(self.private, PASSPHRASE.passphrase),
            durable=True,
            private=True,
            overwrite=False,
            name="key",
            refusal=PrivacyError,
            remedy="name a new file on a disk with space",
        )

    @property
    def public(self) -> str:
        """The public key, 64 hexadecimal digits."""
        return self.private.public_key().public_bytes_raw().hex()

    def sign(self, message: bytes) -> str:
        """Signs: 128 hexadecimal digits."""
        return self.private.sign(message).hex()


def read_public_key(path: Path, *, name: str) -> str:
    """Reads the file of a public key: 64 hexadecimal digits, such as a server's `signing.pub`.

    Args:
        path: The file.
        name: What it is called where it is refused.

    Raises:
        ConfigError: It cannot be read, or holds another kind of key or none.
    """
    remedy = "ask the server's operator for what `fedprofile server key` prints"
    try:
        with path.open("rb") as file:
            content = file.read(10_000).strip()
    except OSError as error:
        raise ConfigError(
            f"cannot be read ({error.strerror})", name=name, value=path, remedy=remedy
        ) from error
    if re.fullmatch(rb"[0-9a-f]{64}", content):
        return content.decode()
    kinds = {
        b"PRIVATE KEY": "is a private key, which its owner must never give away",
        b"BEGIN CERTIFICATE": "is a certificate",
        b"ecdsa-": "is a node's public key",
        b"ssh-": "is a public key of OpenSSH",
    }
    kind = next((words for mark, words in kinds.items() if mark in content), "is no public key")
    raise ConfigError(
        f"{kind}; it must hold the 64 hexadecimal digits of a server's public key",
        name=name,
        value=path,
        remedy=remedy,
    )


def is_signed_by(public: str, message: bytes, signature: str) -> bool:
    """Says whether a signature is the key's own, over exactly this message."""
    try:
        _public_key(public).verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=4096)
def _public_key(public: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
