"""Shares of a secret: any m of them give it, fewer say nothing (Shamir 1979).

https://doi.org/10.1145/359168.359176
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

PRIME = 2**256 + 297
"""The least prime above all secrets of 32 bytes."""
SECRET_BYTES, SHARE_BYTES = 32, 33
_COEFFICIENT_BYTES = 48
"""128 bits more than the prime: what is left of a division is uniform up to 2^-127."""


def polynomial(secret: bytes, *, key: bytes, threshold: int) -> list[int]:
    """Returns the coefficients of a secret's polynomial, the same for the same key.

    Args:
        secret: 32 bytes.
        key: 32 secret bytes that no other polynomial is made of.
        threshold: Shares that give the secret, `m`; the degree is `m - 1`.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes, not {len(secret)}")
    stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
    random = stream.update(bytes(_COEFFICIENT_BYTES * (threshold - 1)))
    cuts = range(0, len(random), _COEFFICIENT_BYTES)
    coefficients = [int.from_bytes(random[i : i + _COEFFICIENT_BYTES]) % PRIME for i in cuts]
    return [int.from_bytes(secret), *coefficients]


def share(coefficients: Sequence[int], place: int) -> bytes:
    """Returns the share of a place (from 1): the polynomial's value, 33 bytes."""
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * place + coefficient) % PRIME
    return value.to_bytes(SHARE_BYTES)


def lagrange(places: Collection[int]) -> dict[int, int]:
    """Returns by place the factor of its share in the polynomial's value at 0."""
    factors = {}
    for place in places:
        above, below = 1, 1
        for other in places:
            if other != place:
                above = above * other % PRIME
                below = below * (other - place) % PRIME
        factors[place] = above * pow(below, -1, PRIME) % PRIME
    return factors


def combine(shares: Mapping[int, bytes], factors: Mapping[int, int]) -> bytes | None:
    """Returns the secret of at least m shares; None where they are shares of none.

    Args:
        shares: By place.
        factors: `lagrange` of just these places.
    """
    value = sum(int.from_bytes(shares[p]) * factors[p] for p in factors) % PRIME
    return value.to_bytes(SECRET_BYTES) if value < 2 ** (8 * SECRET_BYTES) else None
