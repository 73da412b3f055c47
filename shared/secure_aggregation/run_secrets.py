"""Keys of a run, all from one seed, and the sealed letters in which shops hand shares over."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.errors import PrivacyError
from shared.keys.signing import canonical

KEY_BYTES = 32
_NONCE = bytes(12)
"""One letter a key: each pair, direction and set of keys has its own."""


def derive(secret: bytes, *context: str) -> bytes:
    """Returns 32 bytes for one use of a secret (HKDF with SHA-256, RFC 5869).

    Args:
        secret: A seed, or what two keys agreed on.
        *context: The use; other words give bytes that cannot be told from random ones.
    """
    info = canonical(["fedprofile secure aggregation", *context])
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(secret)


def public_key(private: bytes) -> bytes:
    """Returns the X25519 public key of 32 secret bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private: bytes, public: bytes, *, shop: str) -> bytes:
    """Returns what a key and another shop's public key agree on (X25519, RFC 7748).

    Raises:
        PrivacyError: The other's key is none: everyone would know what it agrees on.
    """
    try:
        other = X25519PublicKey.from_public_bytes(public)
        return X25519PrivateKey.from_private_bytes(private).exchange(other)
    except ValueError as error:
        raise PrivacyError(
            "has sent a key that is none", name="shop", value=shop, remedy="run without it"
        ) from error


@dataclass(frozen=True)
class RunSecrets:
    """A shop's secrets in one run.

    Attributes:
        root: 32 bytes, of the run's seed and terms.
    """

    root: bytes

    @classmethod
    def of(cls, seed: bytes, terms: str) -> RunSecrets:
        """Binds a seed to the terms' digest."""
        return cls(derive(seed, "run", terms))

    def channel_key(self) -> bytes:
        """Private key of the letters to other shops."""
        return derive(self.root, "channel key")

    def mask_key(self, release: str) -> bytes:
        """Private key of a release's masks between two shops."""
        return derive(self.root, "mask key", release)

    def self_mask(self, release: str, *, setup: str) -> bytes:
        """Seed of the mask that the shop shares with nobody."""
        return derive(self.root, "self mask", setup, release)

    def polynomial_key(self, use: str, release: str, *, setup: str) -> bytes:
        """Key of the polynomial that hides a secret of a release."""
        return derive(self.root, "polynomial", use, setup, release)


def seal(agreed: bytes, content: bytes, *, setup: str, sender: str, recipient: str) -> bytes:
    """Encrypts a letter between two shops (AES-256-GCM); the same input gives the same bytes."""
    return AESGCM(derive(agreed, "letter", setup, sender, recipient)).encrypt(_NONCE, content, None)


def unseal(agreed: bytes, letter: bytes, *, setup: str, sender: str, recipient: str) -> bytes:
    """Decrypts a letter.

    Raises:
        PrivacyError: It is not the sender's letter to this recipient in this set-up.
    """
    try:
        return AESGCM(derive(agreed, "letter", setup, sender, recipient)).decrypt(
            _NONCE, letter, None
        )
    except InvalidTag as error:
        raise PrivacyError(
            f"cannot read the shares that {sender} sent: one of the two, or the server, is wrong",
            name="shop",
            value=recipient,
            remedy="run without them; no number of a shop was sent",
        ) from error
