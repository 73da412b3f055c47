"""Whole numbers modulo 2^48: six bytes each on the wire, and masks that are uniform there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from shared.privacy.noise import Integers

NUMBER_BYTES = 6
MODULUS = 2 ** (8 * NUMBER_BYTES)
"""Sums of 100 shops of a million users stay below its half: 100 * 10^6 * 2^20 < 2^47."""
_CHUNK = 2**16

Residues = npt.NDArray[np.uint64]
"""Numbers modulo 2^64, of which the lower 48 bits count: 2^48 divides 2^64."""


def add_mask(total: Residues, key: bytes, *, sign: int = 1) -> None:
    """Adds the key's mask to `total` `(n,)` in place, or takes it away where `sign` is -1.

    The mask is an AES-256-CTR stream, eight bytes a number, so that adding it needs no unpacking.

    Args:
        total: Changed in place.
        key: 32 bytes that mask one vector alone.
        sign: 1 or -1.
    """
    stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
    zeros, buffer = bytes(8 * min(_CHUNK, len(total))), bytearray(8 * _CHUNK + 15)
    for start in range(0, len(total), _CHUNK):  # a chunk stays in the processor's cache
        part = total[start : start + _CHUNK]
        n_bytes = 8 * len(part)
        stream.update_into(memoryview(zeros)[:n_bytes], buffer)
        words = np.frombuffer(buffer, dtype="<u8", count=len(part))
        if sign > 0:
            part += words
        else:
            part -= words


def pack(numbers: Residues) -> bytes:
    """Returns the lower six bytes of each number, little-endian."""
    return numbers.astype("<u8", copy=False).view(np.uint8).reshape(-1, 8)[:, :6].tobytes()


def unpack(content: bytes) -> Residues:
    """Returns the numbers that `pack` wrote, `(n,)`."""
    wide = np.zeros((len(content) // NUMBER_BYTES, 8), dtype=np.uint8)
    wide[:, :NUMBER_BYTES] = np.frombuffer(content, dtype=np.uint8).reshape(-1, NUMBER_BYTES)
    return wide.reshape(-1).view("<u8").astype(np.uint64, copy=False)


def residues(numbers: Integers) -> Residues:
    """Returns whole numbers as residues, negative ones from the top."""
    return numbers.astype(np.uint64)


def centred(total: Residues) -> Integers:
    """Returns the whole numbers from -2^47 to 2^47 - 1 that residues stand for."""
    shift = np.uint64(64 - 8 * NUMBER_BYTES)
    return (total << shift).astype(np.int64) >> np.int64(shift)
