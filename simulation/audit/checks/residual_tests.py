"""Tests of noise in whole numbers: size, form, low bits, shares without noise, repetition, lags.

Each gives a probability that independent discrete Gaussians of the claimed variance look at least
so odd; callers bound the smallest of all (Bonferroni), so the number of tests costs little power.
For the deviations of a release (100,000 steps and more) a discrete Gaussian, its absolute value and
its residues are those of the continuous one and uniform ones up to less than 1e-5 relative.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.special import erf
from scipy.stats import binom, chi2, kstest, norm, poisson, rankdata

from shared.privacy.noise import Integers

Floats = npt.NDArray[np.float64]
PValues = Mapping[str, float]

BLOCK = 64
"""Neighbouring numbers whose size is tested together: a tail of a release without noise shows."""
MODULI = (16, 3, 5, 7, 11, 13)
"""Residues of noise modulo these are uniform; noise in multiples of anything small is not."""
LEAST_OVERLAP = 256
"""Numbers that two shifted releases must have in common to be compared."""


@dataclass(frozen=True, eq=False)
class Residual:
    """What is left of a release when its clean sum is taken off: noise and nothing else.

    Attributes:
        name: Which release of which shop, for people.
        kind: `training`, `counts` or `pairs`.
        numbers: `(n,)`.
        variance: That the numbers should have.
    """

    name: str
    kind: str
    numbers: Integers
    variance: int

    @property
    def deviations(self) -> Floats:
        """The numbers in claimed standard deviations, `(n,)`."""
        scaled: Floats = self.numbers / math.sqrt(self.variance)
        return scaled


def noise_p_values(residual: Residual) -> dict[str, float]:
    """Tests one release over its whole length."""
    x, z = residual.numbers, residual.deviations
    whole = z[: len(z) // BLOCK * BLOCK].reshape(-1, BLOCK)
    tests = {
        "size": size_p_value(float(z @ z), len(z)),
        "size of a part": _least(_chi2_two_sided(np.square(whole).sum(axis=1), BLOCK)),
        "form": float(kstest(z, "norm").pvalue),
        "share without noise": _quiet_p_value(x, residual.variance),
        "single large numbers": min(1.0, 2 * len(z) * float(norm.sf(np.abs(z).max(initial=0)))),
        "repeated numbers": _repeats_p_value(x, residual.variance),
        "dependence within": 2 * min(lag_p_value(side) for side in _bounded(residual)),
    }
    return tests | _rests(x)


def unknown_sum_p_values(residual: Residual) -> dict[str, float]:
    """Tests a release whose clean sum is not known: each bound holds whatever that is.

    A sum makes squares larger (noncentral chi-squared), leaves residues uniform, and makes numbers
    near zero and coincidences at most as frequent as noise alone, whose density is largest at 0.
    """
    x, z = residual.numbers, residual.deviations
    whole = np.square(z[: len(z) // BLOCK * BLOCK].reshape(-1, BLOCK)).sum(axis=1)
    tests = {
        "size": float(chi2.cdf(float(z @ z), len(z))),
        "size of a part": _least(np.asarray(chi2.cdf(whole, BLOCK), dtype=np.float64)),
        "share without noise": _quiet_p_value(x, residual.variance),
        "repeated numbers": _repeats_p_value(x, residual.variance),
    }
    return tests | _rests(x)


def repetition_p_values(residuals: Sequence[Residual]) -> dict[str, float]:
    """Counts numbers of equal size in each pair of releases; whatever their clean sums are."""
    values = [np.unique(np.abs(residual.numbers)) for residual in residuals]
    return {
        f"{first.name} repeated in {second.name}": _meetings_p_value(
            len(np.intersect1d(values[i], values[j], assume_unique=True)),
            float(len(first.numbers) * len(second.numbers)),
            first.variance + second.variance,
        )
        for j, second in enumerate(residuals)
        for i, first in enumerate(residuals[:j])
    }


def size_p_value(total: float, n: int) -> float:
    """Returns how odd a sum of `n` squared standard normals is, on either side."""
    return float(_chi2_two_sided(np.array([total]), n)[0])


def pooled_p_values(residuals: Sequence[Residual]) -> dict[str, float]:
    """Tests the releases of one kind together: total size, each place over time, and their sum."""
    z = [r.deviations for r in residuals]
    tests = {"size of all": size_p_value(sum(float(r @ r) for r in z), sum(map(len, z)))}
    same = [r for r in z if len(r) == len(z[0])]
    if len(same) > 1:
        squares = np.square(same).sum(axis=0)
        tests["size of one place"] = _least(_chi2_two_sided(squares, len(same)))
        summed = np.sum(same, axis=0) / math.sqrt(len(same))
        tests["size of the sum"] = size_p_value(float(summed @ summed), len(summed))
    return tests


def dependence_p_values(residuals: Sequence[Residual]) -> dict[str, float]:
    """Tests each pair of releases at every shift, by rank and by rank of the absolute value."""
    length = fft.next_fast_len(2 * max((len(r.numbers) for r in residuals), default=1), real=True)
    spectra = [fft.rfft(_bounded(residual), length) for residual in residuals]
    tests = repetition_p_values(residuals)
    for j, second in enumerate(residuals):
        for i, first in enumerate(residuals[:j]):
            sums = fft.irfft(spectra[i] * np.conj(spectra[j]), length)
            lags = _lags_p_value(sums, len(first.numbers), len(second.numbers))
            tests[f"{first.name} and {second.name}"] = min(1.0, 2 * lags)
    return tests


def smallest(tests: Mapping[str, float]) -> tuple[str, float]:
    """Returns the oddest test and its probability, times the number of tests."""
    name = min(tests, key=lambda key: tests[key])
    return name, min(1.0, tests[name] * len(tests))


def named(prefix: str, tests: PValues) -> dict[str, float]:
    """Puts the release's name before those of its tests."""
    return {f"{test} ({prefix})": p for test, p in tests.items()}


def lag_p_value(series: Floats) -> float:
    """Tests a bounded standardised series `(n,)` against itself at all shifts but 0."""
    length = fft.next_fast_len(2 * len(series), real=True)
    sums = fft.irfft(np.abs(fft.rfft(series, length)) ** 2, length)
    return _lags_p_value(sums, len(series), len(series), alone=True)


def _lags_p_value(sums: Floats, n: int, m: int, *, alone: bool = False) -> float:
    """Tests sums of products of two series at all shifts at which they overlap enough.

    Sums of products of bounded variables have lighter tails than the normal distribution here.

    Args:
        sums: By shift, `(..., length)`, negative shifts at the end.
        n: Length of the first series.
        m: Length of the second.
        alone: Whether they are one series, whose shift 0 says nothing and whose shifts come twice.
    """
    if min(n, m) < LEAST_OVERLAP:
        return 1.0
    shifts = np.arange(1 if alone else LEAST_OVERLAP - m, n - LEAST_OVERLAP + 1)
    overlap = np.minimum(n, shifts + m) - np.maximum(0, shifts)
    largest = float(np.abs(sums[..., shifts] / np.sqrt(overlap)).max(initial=0))
    return min(1.0, 2 * len(shifts) * float(norm.sf(largest)))


def _bounded(residual: Residual) -> Floats:
    """Ranks of the numbers and of their absolute values, mean 0 and variance 1: `(2, n)`.

    Ranks keep any monotone dependence, and no large number can decide a test alone.
    """
    x = residual.numbers
    ranks = rankdata(np.stack([x, np.abs(x)]), axis=1)
    bounded: Floats = (ranks / (len(x) + 1) - 0.5) * math.sqrt(12)
    return bounded


def _chi2_two_sided(totals: Floats, degrees: int) -> Floats:
    tails: Floats = np.minimum(chi2.cdf(totals, degrees), chi2.sf(totals, degrees))
    return np.minimum(1.0, 2 * tails)


def _least(tests: Floats) -> float:
    return min(1.0, float(tests.min(initial=1.0)) * max(1, len(tests)))


def _quiet_p_value(x: Integers, variance: int) -> float:
    """Counts numbers within 0, 2^0, 2^1, ... steps of zero: more than chance have no noise."""
    std = math.sqrt(variance)
    widths = [0, *(2**k for k in range(max(1, int(math.log2(std)))))]
    sizes = np.sort(np.abs(x))
    within = np.searchsorted(sizes, widths, side="right")
    chance = erf((np.array(widths) + 0.5) / (std * math.sqrt(2)))
    return _least(np.asarray(binom.sf(within - 1, len(x), chance), dtype=np.float64))


def _rests(x: Integers) -> dict[str, float]:
    return {f"rest by {m}": _residues_p_value(x, m) for m in MODULI if len(x) >= 20 * m}


def _residues_p_value(x: Integers, m: int) -> float:
    counts = np.bincount(x % m, minlength=m)
    expected = len(x) / m
    return float(chi2.sf(np.square(counts - expected).sum() / expected, m - 1))


def _repeats_p_value(x: Integers, variance: int) -> float:
    """Counts pairs of numbers with the same absolute value."""
    _, times = np.unique(np.abs(x), return_counts=True)
    pairs = int((times * (times - 1) // 2).sum())
    return _meetings_p_value(pairs, len(x) * (len(x) - 1) / 2, 2 * variance)


def _meetings_p_value(pairs: int, possible: float, variance: int) -> float:
    """Upper tail of a number of coincidences, where each has the density at 0 of a difference.

    Pairs that share a number are nearly independent: the correction to a Poisson variance is below
    a tenth for the lengths of a release, and covered by a tenth more.
    """
    expected = possible * 2 / math.sqrt(2 * math.pi * variance)
    if expected < 1000:
        return float(poisson.sf(pairs - 1, 1.1 * expected))
    return float(norm.sf((pairs - expected) / math.sqrt(1.2 * expected)))


def of_kind(residuals: Iterable[Residual], kind: str) -> list[Residual]:
    """Returns the releases of one kind."""
    return [residual for residual in residuals if residual.kind == kind]
