"""Keys of a run: one seed, another secret for every use; letters that only their reader opens."""

from __future__ import annotations

import itertools
import os

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from shared.errors import PrivacyError
from shared.secure_aggregation.run_secrets import (
    RunSecrets,
    agree,
    derive,
    public_key,
    seal,
    unseal,
)

TERMS = "a" * 64


def all_secrets(secrets: RunSecrets) -> list[bytes]:
    places = list(itertools.product(("counts", "pairs"), ("setup-1", "setup-2")))
    return [
        secrets.root,
        secrets.channel_key(),
        *(secrets.mask_key(release) for release in ("counts", "pairs")),
        *(secrets.self_mask(release, setup=setup) for release, setup in places),
        *(
            secrets.polynomial_key(use, release, setup=setup)
            for use in ("self mask", "mask key")
            for release, setup in places
        ),
    ]


def test_every_use_run_release_and_setup_has_a_secret_of_its_own() -> None:
    runs = [RunSecrets.of(seed, terms) for seed in (bytes(32), b"1" * 32) for terms in (TERMS, "b")]
    secrets = [secret for run in runs for secret in all_secrets(run)]
    assert len(set(secrets)) == len(secrets) == 4 * 16
    assert all(len(secret) == 32 for secret in secrets)
    assert all_secrets(RunSecrets.of(bytes(32), TERMS)) == all_secrets(runs[0])


def test_derivation_is_hkdf_with_the_use_in_its_info() -> None:
    """RFC 5869 written out for one block: extract under a zero salt, expand once."""
    extract = HMAC(bytes(32), SHA256())
    extract.update(b"s" * 32)
    expand = HMAC(extract.finalize(), SHA256())
    expand.update(b'["fedprofile secure aggregation","mask key","counts"]\x01')
    assert derive(b"s" * 32, "mask key", "counts") == expand.finalize()


def test_words_of_a_use_do_not_run_together() -> None:
    assert derive(bytes(32), "ab", "c") != derive(bytes(32), "a", "bc")


def test_two_shops_agree_and_a_third_does_not() -> None:
    first, second, third = os.urandom(32), os.urandom(32), os.urandom(32)
    agreed = agree(first, public_key(second), shop="b")
    assert agreed == agree(second, public_key(first), shop="a")
    assert agreed != agree(third, public_key(first), shop="a")


@pytest.mark.parametrize(
    "change",
    [{"setup": "other"}, {"sender": "c"}, {"recipient": "c"}, {"sender": "b", "recipient": "a"}],
)
def test_a_letter_opens_in_its_place_alone(change: dict[str, str]) -> None:
    agreed, place = os.urandom(32), {"setup": "setup", "sender": "a", "recipient": "b"}
    letter = seal(agreed, b"shares", **place)
    assert unseal(agreed, letter, **place) == b"shares"
    assert seal(agreed, b"shares", **place) == letter
    with pytest.raises(PrivacyError, match="cannot read the shares"):
        unseal(agreed, letter, **(place | change))
    with pytest.raises(PrivacyError, match="cannot read the shares"):
        unseal(os.urandom(32), letter, **place)
