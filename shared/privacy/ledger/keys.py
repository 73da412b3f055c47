"""Ed25519 keys of shops and servers (RFC 8032): files that only their owner may read."""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.errors import PrivacyError
from shared.privacy.key_lock import LOCK, key_pem, open_key


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
                f"key={path} cannot be read ({error.strerror}); restore the key of this ledger"
            ) from error
        if mode & 0o077:
            raise PrivacyError(
                f"key={path} has mode {mode:o}, which lets others read it; run chmod 600 {path}"
            )
        try:
            private = open_key(pem, path)
        except (ValueError, TypeError) as error:
            raise PrivacyError(f"key={path} is not a PEM key; restore the right file") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise PrivacyError(f"key={path} must be an Ed25519 key; restore the right file")
        return cls(private)

    def save(self, path: Path) -> None:
        """Writes a new key file for the owner alone, and makes it last.

        It is encrypted where this process has a passphrase.

        Raises:
            PrivacyError: The file exists or cannot be written.
        """
        pem = key_pem(self.private, LOCK.passphrase)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, draft = tempfile.mkstemp(dir=path.parent)  # made for the owner alone
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(pem)
                    file.flush()
                    os.fsync(file.fileno())
                os.link(draft, path)  # whole or not at all, and never over another key
            finally:
                Path(draft).unlink()
        except OSError as error:
            raise PrivacyError(
                f"key={path} cannot be written ({error.strerror}); name a new file on a disk with "
                "space"
            ) from error

    @property
    def public(self) -> str:
        """The public key, 64 hexadecimal digits."""
        return self.private.public_key().public_bytes_raw().hex()

    def sign(self, message: bytes) -> str:
        """Signs: 128 hexadecimal digits."""
        return self.private.sign(message).hex()


def verifies(public: str, message: bytes, signature: str) -> bool:
    """Says whether a signature is the key's own, over exactly this message."""
    try:
        _public_key(public).verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=4096)
def _public_key(public: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
