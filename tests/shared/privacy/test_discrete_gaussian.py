"""Discrete Gaussian noise: tables, sampler, variance, and the lemma by which it is accounted."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp
from scipy import stats

from shared.privacy import noise as module
from shared.privacy.noise import (
    GRID,
    MAX_VARIANCE,
    ROUNDING_VARIANCE,
    RandomSource,
    discrete_gaussian,
    grid_variance,
)


def probability(x: int, variance: int) -> float:
    """Of the discrete Gaussian, by its definition."""
    reach = 40 * math.isqrt(variance) + 40
    total = sum(math.exp(-(k * k) / (2 * variance)) for k in range(-reach, reach + 1))
    return math.exp(-x * x / (2 * variance)) / total


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-3, 1e4), st.integers(1, 100))
def test_the_accounted_noise_is_never_less_than_the_plans(noise: float, shops: int) -> None:
    """sqrt(n V - 9) / s of docs/privacy.md, in exact fractions."""
    variance = grid_variance(noise, shops=shops)
    accounted = Fraction(shops * variance - ROUNDING_VARIANCE) / GRID**2
    assert accounted >= Fraction(noise) ** 2
    assert accounted <= Fraction(noise) ** 2 + Fraction(11 * shops, GRID**2)


def test_no_noise_draws_nothing() -> None:
    random = RandomSource.from_seed(1)
    assert grid_variance(0.0) == 0
    assert discrete_gaussian(random, 3, variance=0).tolist() == [0, 0, 0]
    assert random.words(1) == RandomSource.from_seed(1).words(1)


@pytest.mark.parametrize("variance", [-1, MAX_VARIANCE + 1])
def test_a_variance_out_of_bounds_is_refused(variance: int) -> None:
    with pytest.raises(ValueError, match="variance="):
        discrete_gaussian(RandomSource.from_os(), 1, variance=variance)


@pytest.mark.parametrize("variance", [1, 9, 1000])
def test_a_table_holds_the_probabilities_to_128_bits(variance: int) -> None:
    table = module._table(variance)
    with mp.workprec(400):
        weights = [
            mp.exp(mp.mpf(-k * k) / (2 * variance)) for k in range(-table.reach, table.reach + 1)
        ]
        total, running = mp.fsum(weights), mp.mpf(0)
        for exact, weight in zip(table.exact[:-1], weights, strict=False):
            running += weight
            assert abs(exact - running / total * mp.mpf(2) ** 128) < 2


@pytest.mark.parametrize("bits", [0, 2**64 - 1])
def test_undecided_upper_bits_are_decided_by_the_lower_ones(bits: int) -> None:
    """Where 64 bits hit a border of the table, the next 64 say on which side of it they are."""
    table = module._table(9)
    place = table.reach + 1
    drawn = [np.array([table.high[place]]), np.array([bits], dtype=np.uint64)]

    class Scripted(RandomSource):
        def words(self, n: int):  # type: ignore[no-untyped-def]
            return drawn.pop(0)[:n]

    (value,) = table.draw(Scripted(bytes(32), repeatable=True), 1)
    assert value == place - table.reach + (1 if bits else 0)
    assert drawn == []


@pytest.mark.parametrize("variance", [1, 400, 2_400_000])
def test_the_guide_finds_what_a_search_finds(variance: int) -> None:
    """On words of all sizes, at the borders of the guide, at entries, and one beside them."""
    table = module._table(variance)
    borders = np.arange(2**16, dtype=np.uint64) << np.uint64(48)
    exact = table.high[:: max(1, len(table.high) // 5000)]
    one = np.uint64(1)
    words = np.concatenate(
        [RandomSource.from_seed(9).words(50_000), borders, borders[1:] - one, exact, exact + one,
         exact[exact > 0] - one, np.array([0, 2**64 - 1], dtype=np.uint64)]
    )  # fmt: skip
    np.testing.assert_array_equal(table._find(words), np.searchsorted(table.high, words))


@pytest.mark.parametrize("variance", [1, 3, 20, 400])
def test_draws_follow_the_distribution(variance: int) -> None:
    draws, most = 200_000, 3 * math.isqrt(variance) + 1
    counts = Counter(
        discrete_gaussian(RandomSource.from_seed(5), draws, variance=variance).tolist()
    )
    values = range(-most, most + 1)
    expected = [draws * probability(x, variance) for x in values]
    observed = [counts[x] for x in values]
    rest = draws - sum(observed), draws - sum(expected)
    assert stats.chisquare([*observed, rest[0]], [*expected, rest[1]]).pvalue > 1e-3


@pytest.mark.parametrize("variance", [10**5 + 1, grid_variance(0.775), grid_variance(50.0)])
def test_large_variances_are_gaussian_in_the_large_and_even_in_the_small(variance: int) -> None:
    coarse, fine, step = module._split(variance)
    assert step**2 * coarse + fine == variance
    assert coarse * fine >= ROUNDING_VARIANCE * variance
    draws = discrete_gaussian(RandomSource.from_seed(6), 200_000, variance=variance)
    assert stats.kstest(draws / math.sqrt(variance), "norm").pvalue > 1e-3
    for divisor in (2, 7, step):  # as the step of one of the two tables must not show
        residues = np.bincount(draws % divisor, minlength=divisor)
        assert stats.chisquare(residues).pvalue > 1e-3


def test_draws_are_independent_of_each_other() -> None:
    x = discrete_gaussian(RandomSource.from_seed(7), 200_000, variance=grid_variance(1.0))
    for lag in (1, 2, len(x) // 2):
        assert abs(np.corrcoef(x[lag:], x[:-lag])[0, 1]) < 4 / np.sqrt(len(x) - lag)
    squares = (x / GRID) ** 2
    for lag in (1, 2, len(x) // 2):
        assert abs(np.corrcoef(squares[lag:], squares[:-lag])[0, 1]) < 4 / np.sqrt(len(x) - lag)


@pytest.mark.slow
@pytest.mark.parametrize("variance", [4, 10**6])
def test_draws_agree_with_an_exact_sampler(variance: int) -> None:
    """OpenDP's sampler is exact (Canonne, Kamath and Steinke) and too slow for releases."""
    import opendp.prelude as opendp

    opendp.enable_features("contrib")
    space = opendp.vector_domain(opendp.atom_domain(T="i64")), opendp.l2_distance(T="f64")
    sampler = opendp.m.make_gaussian(*space, scale=math.sqrt(variance))
    theirs = np.array(sampler([0] * 50_000))
    ours = discrete_gaussian(RandomSource.from_seed(8), 50_000, variance=variance)
    assert stats.ks_2samp(ours, theirs).pvalue > 1e-3
    assert ours.var() == pytest.approx(theirs.var(), rel=0.04)


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.2), (2.0, 0.4), (3.0, 1.0), (1.0, 2.0)])
def test_a_gaussian_rounded_at_random_is_a_discrete_one(a: float, b: float) -> None:
    """The lemma of docs/privacy.md on small grids, where its error can be seen and is bounded."""
    error = 2 * sum(math.exp(-2 * math.pi**2 * b * j * j) for j in range(1, 9))
    x = np.arange(-60, 61)
    y = np.linspace(-20, 20, 10_241)  # the trapezoidal rule is exact to rounding on such curves
    weights = np.exp(-((x[:, None] - y) ** 2) / (2 * b))
    density = np.exp(-(y**2) / (2 * a)) / np.sqrt(2 * np.pi * a)
    rounded = (weights / weights.sum(axis=0) * density).sum(axis=1) * (y[1] - y[0])
    discrete = np.exp(-(x**2) / (2 * (a + b)))
    ratio = (rounded / (discrete / discrete.sum()))[np.abs(x) <= 4]
    assert np.abs(ratio - 1).max() <= 3 * error + 1e-12
    if b < 0.5:
        assert np.abs(ratio - 1).max() > error / 1000  # there the error can be seen


def test_the_lemmas_error_at_the_variance_that_is_added() -> None:
    with mp.workdps(100):
        assert 2 * mp.exp(-2 * mp.pi**2 * ROUNDING_VARIANCE) < mp.mpf("1.5e-77")
