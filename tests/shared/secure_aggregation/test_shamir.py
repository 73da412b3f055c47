"""Shares: any m give the secret, fewer give nothing."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.secure_aggregation.shamir import (
    PRIME,
    SHARE_BYTES,
    combine,
    lagrange,
    polynomial,
    share,
)


def is_prime(n: int) -> bool:
    """Miller-Rabin with 40 bases."""
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in range(2, 42):
        power = pow(base, odd, n)
        if power in (1, n - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % n
            if power == n - 1:
                break
        else:
            return False
    return True


def test_the_prime_is_the_least_above_all_secrets() -> None:
    assert is_prime(PRIME)
    assert not any(is_prime(n) for n in range(2**256, PRIME))


@given(secret=st.binary(min_size=32, max_size=32), data=st.data())
def test_any_threshold_of_shares_gives_the_secret(secret: bytes, data: st.DataObject) -> None:
    k = data.draw(st.integers(2, 12))
    m = data.draw(st.integers(1, k))
    coefficients = polynomial(secret, key=os.urandom(32), threshold=m)
    places = data.draw(st.permutations(range(1, k + 1)))[:m]
    shares = {place: share(coefficients, place) for place in places}
    assert all(len(s) == SHARE_BYTES for s in shares.values())
    assert combine(shares, lagrange(places)) == secret


def test_fewer_shares_fit_every_secret() -> None:
    """For m - 1 shares and any other secret there is a polynomial through all of them."""
    m, secret, other = 4, b"\x01" * 32, b"\xfe" * 32
    coefficients = polynomial(secret, key=b"k" * 32, threshold=m)
    places = [2, 5, 7]
    known = {0: int.from_bytes(other)} | {p: int.from_bytes(share(coefficients, p)) for p in places}

    def through(x: int) -> int:
        value = 0
        for p, y in known.items():
            term = y
            for q in known:
                if q != p:
                    term = term * (x - q) * pow(p - q, -1, PRIME) % PRIME
            value = (value + term) % PRIME
        return value

    fourth = {p: share(coefficients, p) for p in places} | {9: through(9).to_bytes(SHARE_BYTES)}
    assert combine(fourth, lagrange(fourth)) == other


def test_what_hides_a_secret_is_another_polynomial_for_each_key() -> None:
    first, same, other = (
        polynomial(bytes(32), key=key, threshold=5) for key in (b"a" * 32, b"a" * 32, b"b" * 32)
    )
    assert first == same
    assert first[0] == other[0] == 0
    assert not set(first[1:]) & set(other[1:])


def test_a_false_share_gives_another_secret_or_none() -> None:
    coefficients = polynomial(b"s" * 32, key=b"k" * 32, threshold=3)
    shares = {place: share(coefficients, place) for place in (1, 2, 3)}
    shares[2] = (int.from_bytes(shares[2]) ^ 1).to_bytes(SHARE_BYTES)
    assert combine(shares, lagrange(shares)) != b"s" * 32


def test_a_secret_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        polynomial(b"short", key=bytes(32), threshold=2)
