"""Random numbers from a cryptographic generator, repeatable only where that is asked for."""

from __future__ import annotations

import hashlib
import json
import math
import os

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes


class RandomSource:
    """An AES-256-CTR key stream, read as bits, uniforms and normals.

    `from_os` gives a new key from the operating system: a release must use it. `from_seed` derives
    the key from public values: the same seed gives the same noise, so anyone can subtract it, and
    a run that uses it is a simulation, not a release.

    Guarantee:
        Draws cannot be told from independent uniform bits without the key (AES as a pseudo-random
        permutation).

    Assumes:
        Real-valued noise. Normals are floating-point numbers, whose low bits can tell more about
        the value underneath than the exact mechanism would (Mironov 2012,
        https://doi.org/10.1145/2382196.2382264); that attack is not covered. Their tails end at
        8.6 standard deviations (two-sided mass 1e-17).
    """

    def __init__(self, key: bytes, *, repeatable: bool) -> None:
        self._repeatable = repeatable
        self._stream = _key_stream(key)
        self._process = os.getpid()

    @classmethod
    def from_os(cls) -> RandomSource:
        """Returns a source keyed with 256 bits of the operating system."""
        return cls(os.urandom(32), repeatable=False)

    @classmethod
    def from_seed(cls, seed: int, *context: str | int) -> RandomSource:
        """Returns a source keyed with SHA-256 of the seed and its context, for simulations.

        Args:
            seed: Public seed of the run.
            *context: What the numbers are for, such as shop and round; 1 and "1" differ.
        """
        name = json.dumps(["fedprofile.noise", seed, *context])
        return cls(hashlib.sha256(name.encode()).digest(), repeatable=True)

    @property
    def repeatable(self) -> bool:
        """Whether the same numbers can be drawn again, so that what they hide is not hidden."""
        return self._repeatable

    def uniform(self, n: int) -> npt.NDArray[np.float64]:
        """Draws `(n,)` uniforms in [0, 1) with 53 random bits each."""
        return self._integers(n).astype(np.float64) * 2.0**-53

    def gaussian(
        self, shape: tuple[int, ...], std: float, dtype: npt.DTypeLike = np.float32
    ) -> npt.NDArray[np.floating]:
        """Draws independent normals by Box and Muller's transform, in double precision.

        Args:
            shape: Shape of the result.
            std: Standard deviation, at least 0; 0 gives zeros and draws nothing.
            dtype: Floating type that the result is rounded to.

        Raises:
            ValueError: `std` is negative or not finite.
        """
        if not (std >= 0 and math.isfinite(std)):
            raise ValueError(f"std={std} must be finite and at least 0; check noise and clip norm")
        if std == 0:
            return np.zeros(shape, dtype=dtype)
        size = math.prod(shape)
        half = (size + 1) // 2
        bits = self._integers(2 * half)
        radius = std * np.sqrt(-2.0 * np.log((bits[:half].astype(np.float64) + 1.0) * 2.0**-53))
        angle = bits[half:].astype(np.float64) * (math.pi * 2.0**-52)
        values = np.empty((2, half))
        np.multiply(radius, np.cos(angle), out=values[0])
        np.multiply(radius, np.sin(angle), out=values[1])
        return values.reshape(-1)[:size].reshape(shape).astype(dtype)

    def generator(self) -> np.random.Generator:
        """Returns a fast generator, seeded from the stream, for what needs no secrecy."""
        return np.random.default_rng(int.from_bytes(self._bytes(32)))

    def _integers(self, n: int) -> npt.NDArray[np.uint64]:
        words = np.frombuffer(self._bytes(8 * n), dtype="<u8")
        return (words >> np.uint64(11)).astype(np.uint64, copy=False)

    def _bytes(self, n: int) -> bytes:
        """Reads the stream; a forked child must not repeat its parent's noise."""
        if not self._repeatable and os.getpid() != self._process:
            self._stream, self._process = _key_stream(os.urandom(32)), os.getpid()
        return self._stream.update(bytes(n))


def _key_stream(key: bytes) -> CipherContext:
    return Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
