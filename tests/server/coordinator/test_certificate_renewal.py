"""A new server certificate through the command: for how long, for which names, and when not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from server.cli import server as commands
from server.coordinator.folder import ServerFolder
from server.coordinator.setup import renew_certificate
from shared.errors import ConfigError
from shared.keys.private_keys import PASSPHRASE
from shared.runtime.file_store import write_atomic
from shared.settings.service_file import write_settings
from tests.deploy.installing import Pair


@pytest.fixture(autouse=True)
def no_passphrase() -> Iterator[None]:
    PASSPHRASE.set(None)
    yield
    PASSPHRASE.set(None)


def call(folder: ServerFolder, *words: object) -> Result:
    PASSPHRASE.set(None)
    name, *options = map(str, words)
    return CliRunner().invoke(commands, [name, "--dir", str(folder.root), *options])


def status(folder: ServerFolder) -> tuple[int, str]:
    """Days left as JSON says it, and the line for people."""
    found = json.loads(call(folder, "status", "--json").output)
    (line,) = [x for x in call(folder, "status").output.splitlines() if "certificate" in x]
    return found["certificate_days"], line.strip()


def certificate(folder: ServerFolder) -> x509.Certificate:
    return x509.load_pem_x509_certificate(folder.certificate.read_bytes())


def test_a_new_certificate_of_the_same_authority_takes_the_names_of_the_settings(
    pair: Pair,
) -> None:
    folder, authority = pair.server, pair.server.authority.read_bytes()
    assert status(folder) == (824, "certificate: 824 days left")
    names = (*folder.settings().names, "example.org")
    settings = folder.settings().model_copy(update={"names": names})
    write_settings(folder.root / "server.toml", settings)
    done = call(folder, "renew", "--days", 30)
    assert (done.exit_code, done.output[:30]) == (0, "certificate valid for 30 days\n")
    assert status(folder)[0] == 29
    new = certificate(folder)
    new.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
    said = new.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "example.org" in said.get_values_for_type(x509.DNSName)
    form = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    key = load_pem_private_key(folder.certificate.with_suffix(".key").read_bytes(), None)
    assert key.public_key().public_bytes(*form) == new.public_key().public_bytes(*form)
    assert folder.authority.read_bytes() == authority
    renew_certificate(folder, days=-1)
    assert status(folder)[1] == "certificate: expired"


@pytest.mark.parametrize("days", [-1, 0, 3650])
def test_days_that_make_no_good_certificate_are_refused_in_one_line(pair: Pair, days: int) -> None:
    before = pair.server.certificate.read_bytes()
    error = call(pair.server, "renew", "--days", days).exception
    assert isinstance(error, ConfigError)
    assert str(error).startswith(f"days={days} must be between 1 and 3649, the days")
    assert "\n" not in str(error)
    assert pair.server.certificate.read_bytes() == before


def test_a_missing_authority_is_one_line(pair: Pair) -> None:
    pair.server.authority.unlink()
    error = call(pair.server, "renew", "--days", 30).exception
    assert isinstance(error, ConfigError)
    assert "authority.pem cannot be read (No such file" in str(error)


def test_encrypted_keys_are_opened_with_the_passphrase_and_stay_encrypted(
    pair: Pair, tmp_path: Path
) -> None:
    right, before = tmp_path / "right", certificate(pair.server)
    write_atomic(right, b"right\n", durable=True, private=True)
    assert call(pair.server, "passphrase", "--new-passphrase-file", right).exit_code == 0
    error = call(pair.server, "renew", "--days", 30).exception
    assert isinstance(error, ConfigError)
    assert "is encrypted; give its passphrase" in str(error)
    assert certificate(pair.server) == before
    done = call(pair.server, "renew", "--days", 30, "--passphrase-file", right)
    assert done.exit_code == 0
    assert certificate(pair.server) != before
    assert all(b"BEGIN ENCRYPTED" in path.read_bytes() for path in pair.server.private_keys())
