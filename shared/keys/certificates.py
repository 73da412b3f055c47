"""A private certificate authority and the server's TLS certificate (ECDSA P-256)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.errors import ConfigError

AUTHORITY_DAYS, SERVER_DAYS = 3650, 825
SKEW = timedelta(hours=25)
"""Certificates begin this long ago, so that a node whose clock is off still accepts them."""


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key, both PEM.

    Attributes:
        certificate: May be given to anybody.
        key: Its owner's alone.
    """

    certificate: bytes
    key: bytes


def make_authority(name: str, *, days: int = AUTHORITY_DAYS) -> KeyPair:
    """Makes a certificate authority for one federation."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} authority")])
    usage = _usage(key_cert_sign=True, crl_sign=True)
    built = (
        _builder(subject, subject, key.public_key(), days=days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pair(built, key)


def make_server_certificate(
    authority: KeyPair, names: Sequence[str], *, days: int = SERVER_DAYS
) -> KeyPair:
    """Makes the server's certificate for host names and IP addresses.

    Args:
        authority: Signs it.
        names: What nodes may call the server.
        days: Days from now after which it is no longer valid; below 0 it has expired already.

    Raises:
        ConfigError: There is no name.
    """
    if not names:
        raise ConfigError(
            "names= must hold at least one host name or IP address", remedy="give --name"
        )
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    signer = load_pem_private_key(authority.key, password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise ConfigError("authority: the key must be ECDSA", remedy="restore it from its backup")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    signed_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    built = (
        _builder(subject, issuer.subject, key.public_key(), days=days)
        .add_extension(x509.SubjectAlternativeName([_name(n) for n in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True, key_encipherment=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(signed_by, critical=False)
        .sign(signer, hashes.SHA256())
    )
    return _pair(built, key)


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate, to be compared by telephone."""
    return x509.load_pem_x509_certificate(certificate).fingerprint(hashes.SHA256()).hex()


def days_left(path: Path) -> int:
    """Returns the whole days for which a certificate is still valid, below 0 once it has expired.

    Raises:
        ConfigError: The file is missing or is no certificate.
    """
    try:
        end = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no certificate"
        raise ConfigError(
            f"cannot be read ({why})",
            name="certificate",
            value=path,
            remedy="restore it from its backup",
        ) from error
    return (end - datetime.now(UTC)).days


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    end = now + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, end) - SKEW)
        .not_valid_after(end)
    )


def _usage(**on: bool) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: on.get(name, False) for name in names})


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return KeyPair(certificate.public_bytes(Encoding.PEM), pem)
