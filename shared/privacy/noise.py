"""Noise for what leaves a shop: whole numbers from a cryptographic generator.

Floating-point noise that is added to a clean sum shows in the low bits: for each released number
an attacker asks whether any representable noise could have given it in a world without the target,
and where none could, that world is impossible (Mironov 2012,
https://doi.org/10.1145/2382196.2382264). Whole numbers have no low bits. A contribution is cut
towards zero to a multiple of 1 / `GRID`, sums are exact, and the noise is a discrete Gaussian
(Canonne, Kamath and Steinke, https://arxiv.org/abs/2004.00010), which can reach every whole number.
The proof that the accountants of the continuous mechanism hold is in `docs/privacy.md`.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import math
import os
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from mpmath import mp


class RandomSource:
    """An AES-256-CTR key stream, read as bits and uniforms.

    `from_os` gives a new key from the operating system: a release must use it. `from_seed` derives
    the key from public values: the same seed gives the same noise, so anyone can subtract it, and
    a run that uses it is a simulation, not a release.

    Guarantee:
        Draws cannot be told from independent uniform bits without the key (AES as a pseudo-random
        permutation).
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

    def generator(self) -> np.random.Generator:
        """Returns a fast generator, seeded from the stream, for what needs no secrecy."""
        return np.random.default_rng(int.from_bytes(self._bytes(32)))

    def words(self, n: int) -> npt.NDArray[np.uint64]:
        """Draws `(n,)` whole numbers of 64 random bits."""
        return np.frombuffer(self._bytes(8 * n), dtype="<u8").astype(np.uint64, copy=False)

    def _integers(self, n: int) -> npt.NDArray[np.uint64]:
        return self.words(n) >> np.uint64(11)

    def _bytes(self, n: int) -> bytes:
        """Reads the stream; a forked child must not repeat its parent's noise."""
        if not self._repeatable and os.getpid() != self._process:
            self._stream, self._process = _key_stream(os.urandom(32)), os.getpid()
        return self._stream.update(bytes(n))


def _key_stream(key: bytes) -> CipherContext:
    return Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()


GRID = 2**20
"""Steps of the grid for a norm of 1: the L2 sensitivity of every released sum, in whole numbers."""
ROUNDING_VARIANCE = 9
"""Variance beyond the accounted one. A whole number plus a continuous Gaussian, rounded at random
by a discrete Gaussian of this variance, is the discrete Gaussian of both variances together, up to
a factor 1 +- 1e-76 (Peikert 2010, https://doi.org/10.1007/978-3-642-14623-7_5, theorem 3.1): so the
mechanism is a post-processing of the one that the accountants know."""
MAX_VARIANCE = 2**96
"""Beyond any noise that a plan can ask for; tables stay below half a million entries."""
_DIRECT_VARIANCE = 10**5
"""Up to here one table holds all values; above, two smaller ones are combined."""
_PRECISION, _WORD = 256, 64
_GUIDE_BITS, _GUIDE_STEPS = 16, 2
_LARGE_VARIANCE, _FACTOR = 2**50, 100
_TAIL_BITS = 140
"""Values with less probability than 2^-140 beyond them are left out of a table."""

Integers = npt.NDArray[np.int64]


def grid_variance(noise_multiplier: float, *, shops: int = 1) -> int:
    """Returns the variance that one shop adds to each whole number that it releases.

    Args:
        noise_multiplier: Accounted noise of the sum, in units of the sensitivity; 0 for none.
        shops: Shops that add the noise together.

    Returns:
        `ceil((noise_multiplier * GRID)^2 / shops) + ROUNDING_VARIANCE`, worked out in whole
        numbers, for a sensitivity of `GRID`; 0 for no noise.
    """
    if noise_multiplier == 0:
        return 0
    std = Fraction(noise_multiplier) * GRID
    return math.ceil(std * std / shops) + ROUNDING_VARIANCE


def discrete_gaussian(random: RandomSource, n: int, *, variance: int) -> Integers:
    """Draws independent discrete Gaussians of mean 0, `(n,)`.

    The probability of x is proportional to `exp(-x^2 / (2 variance))`.

    Args:
        random: Where the bits come from.
        n: How many.
        variance: A whole number, at least 0; 0 gives zeros and draws nothing.

    Guarantee:
        Each number is within a statistical distance of 1e-30 of that distribution: tables hold
        probabilities to 128 bits, which 64 bits would not do (500,000 numbers times e^epsilon of
        2^-64 are no longer small against delta).

    Raises:
        ValueError: The variance is negative or above `MAX_VARIANCE`.
    """
    if not 0 <= variance <= MAX_VARIANCE:
        raise ValueError(
            f"variance={variance} must be between 0 and {MAX_VARIANCE}; check the plan"
        )
    if variance == 0 or n == 0:
        return np.zeros(n, dtype=np.int64)
    if variance > _LARGE_VARIANCE:
        # Tables grow with the fourth root: a small one takes a factor of 100 off the deviation.
        coarse = variance // _FACTOR**2 - 10
        fine = variance - _FACTOR**2 * coarse
        return _table(fine).draw(random, n) + _FACTOR * discrete_gaussian(
            random, n, variance=coarse
        )
    coarse, fine, step = _split(variance)
    values = _table(fine).draw(random, n)
    if step:
        values += step * _table(coarse).draw(random, n)
    return values


def _split(variance: int) -> tuple[int, int, int]:
    """Returns variances a and c and a step b with `b^2 a + c = variance`; step 0 for one table.

    `b X + Y` of two discrete Gaussians is one again up to a factor 1 +- 2 exp(-2 pi^2 v), where
    `v = a c / variance` (the same theorem); both tables are as small as v of at least
    `ROUNDING_VARIANCE` lets them be.
    """
    if variance <= _DIRECT_VARIANCE:
        return 0, variance, 0
    step = math.isqrt(math.isqrt(variance // ROUNDING_VARIANCE) - 1)
    coarse = variance // (step * step + 1)
    fine = variance - step * step * coarse
    if coarse * fine < ROUNDING_VARIANCE * variance:
        raise AssertionError(f"variance={variance} is not split finely enough")
    return coarse, fine, step


@dataclass(frozen=True, eq=False)
class _Table:
    """Cumulative probabilities of `-reach` to `reach`, as whole numbers below 2^128.

    Attributes:
        high: Their upper 64 bits, ascending, `(2 reach + 1,)`.
        exact: All 128 bits.
        reach: Largest value.
        guide: Place of the first entry at or above each multiple of 2^48, `(2^16 + 1,)`.
    """

    high: npt.NDArray[np.uint64]
    exact: list[int]
    reach: int
    guide: npt.NDArray[np.int32]

    def draw(self, random: RandomSource, n: int) -> Integers:
        """Inverts uniforms of 128 bits; the lower 64 are drawn where the upper do not decide."""
        words = random.words(n)
        place = self._find(words)
        last = len(self.high) - 1
        undecided = np.flatnonzero(self.high[np.minimum(place, last)] == words)
        for i, low in zip(undecided.tolist(), random.words(len(undecided)).tolist(), strict=True):
            place[i] = bisect.bisect_right(self.exact, (int(words[i]) << _WORD) | low)
        return np.minimum(place, last) - self.reach

    def _find(self, words: npt.NDArray[np.uint64]) -> npt.NDArray[np.intp]:
        """Returns the place of the first entry at or above each word, as `np.searchsorted` does.

        Three times as fast: the upper 16 bits say where to begin, and all but the tails are at
        most two entries further.
        """
        prefix = (words >> np.uint64(_WORD - _GUIDE_BITS)).astype(np.intp)
        place = self.guide[prefix].astype(np.intp)
        crowded = np.flatnonzero(self.guide[prefix + 1] - place > _GUIDE_STEPS)
        last = len(self.high) - 1
        for _ in range(_GUIDE_STEPS):
            place += self.high[np.minimum(place, last)] < words
        place[crowded] = np.searchsorted(self.high, words[crowded], side="left")
        return place


@lru_cache(maxsize=64)
def _table(variance: int) -> _Table:
    reach = math.ceil(math.sqrt(2 * variance * _TAIL_BITS * math.log(2)))
    with mp.workprec(_PRECISION + 64):
        shift = mp.mpf(2) ** _PRECISION
        ratio = int(shift * mp.exp(mp.mpf(-1) / (2 * variance)))
        growth = int(shift * mp.exp(mp.mpf(-1) / variance))
    # exp(-(k+1)^2 / 2v) = exp(-k^2 / 2v) * exp(-(2k+1) / 2v): two products a value, no power.
    weights = [1 << _PRECISION]
    for _ in range(reach):
        weights.append(weights[-1] * ratio >> _PRECISION)
        ratio = ratio * growth >> _PRECISION
    weights = weights[:0:-1] + weights
    total, running, exact = sum(weights), 0, []
    for weight in weights:
        running += weight
        exact.append((running << 2 * _WORD) // total)
    exact[-1] = (1 << 2 * _WORD) - 1
    high = np.array([value >> _WORD for value in exact], dtype=np.uint64)
    borders = np.arange(1 << _GUIDE_BITS, dtype=np.uint64) << np.uint64(_WORD - _GUIDE_BITS)
    guide = np.append(np.searchsorted(high, borders, side="left"), len(high)).astype(np.int32)
    return _Table(high, exact, reach, guide)
