"""The tests of noise: honest noise passes as often as it should, every planted structure shows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import norm

from shared.privacy.noise import GRID, Integers, RandomSource, discrete_gaussian, grid_variance
from simulation.audit.checks.residual_tests import (
    Residual,
    dependence_p_values,
    lag_p_value,
    noise_p_values,
    pooled_p_values,
    size_p_value,
    smallest,
)

N, VARIANCE = 4096, grid_variance(0.775)


def draw(n: int = N, *, variance: int = VARIANCE) -> Integers:
    return discrete_gaussian(RandomSource.from_os(), n, variance=variance)


def residual(numbers: Integers, name: str = "a") -> Residual:
    return Residual(name, "pairs", numbers, VARIANCE)


def test_honest_noise_gives_small_probabilities_as_rarely_as_they_say() -> None:
    small = []
    for _ in range(100):
        tests = noise_p_values(residual(draw()))
        small += [p < 0.01 for p in tests.values()]
        assert min(tests.values()) > 1e-7
    assert sum(small) <= 1.6 * 0.01 * len(small)


def test_one_test_by_hand() -> None:
    assert size_p_value(100.0, 100) == pytest.approx(2 * 0.4811917, rel=1e-5)
    pair = np.array([3, 3, -3, 5] * 64)
    tests = noise_p_values(Residual("a", "pairs", pair, VARIANCE))
    assert tests["rest by 3"] < 1e-20  # only 0 and 2
    alternating = np.tile([1.0, -1.0], 2048)
    overlap = 4095  # at shift 1 every product is -1
    largest = 2 * 3840 * norm.sf(overlap**0.5)
    assert lag_p_value(alternating) == pytest.approx(largest, abs=1e-300)


def cosine_twice(x: Integers) -> Integers:
    return np.resize(x[: len(x) // 2], len(x))


def signs_mirrored(x: Integers) -> Integers:
    return np.concatenate([x[: len(x) // 2], -x[len(x) // 2 - 1 :: -1]])


def scaled_neighbour(x: Integers) -> Integers:
    x[1::2] = np.rint(1.001 * x[::2]).astype(np.int64)
    return x


def cut_low_bits(x: Integers) -> Integers:
    return x & ~np.int64(255)


def odd_multiples(x: Integers) -> Integers:
    return x // 17 * 17


def whole_units(x: Integers) -> Integers:
    return GRID * np.rint(x / GRID).astype(np.int64)


def few_without(x: Integers) -> Integers:
    x[::200] = 0
    return x


def few_quiet(x: Integers) -> Integers:
    x[::50] //= 1000
    return x


def quiet_tail(x: Integers) -> Integers:
    x[-64:] //= 4
    return x


def one_leak(x: Integers) -> Integers:
    x[17] += 26 * GRID
    return x


def uniform(x: Integers) -> Integers:
    width = round((12 * VARIANCE) ** 0.5)
    return np.random.default_rng(1).integers(-width // 2, width // 2, len(x))


def short(x: Integers) -> Integers:
    return x * 8 // 10


@pytest.mark.parametrize(
    ("fault", "test"),
    [
        (cosine_twice, "repeated numbers"),
        (cosine_twice, "dependence within"),
        (signs_mirrored, "repeated numbers"),
        (scaled_neighbour, "dependence within"),
        (cut_low_bits, "rest by 16"),
        (odd_multiples, "repeated numbers"),
        (whole_units, "rest by 16"),
        (few_without, "share without noise"),
        (few_quiet, "share without noise"),
        (quiet_tail, "size of a part"),
        (one_leak, "single large numbers"),
        (uniform, "form"),
        (short, "size"),
    ],
)
def test_a_structure_shows_in_the_test_for_it(
    fault: Callable[[Integers], Integers], test: str
) -> None:
    assert noise_p_values(residual(fault(draw())))[test] < 1e-9


def test_releases_that_share_noise_show_at_any_shift_and_scale() -> None:
    noise = draw(N + 200)
    larger = np.rint(1.7 * noise[150:4250]).astype(np.int64)
    pairs = dependence_p_values(
        [
            residual(noise[:N], "a"),
            Residual("b", "pairs", larger, round(1.7**2 * VARIANCE)),
            residual(draw(), "c"),
        ]
    )
    assert pairs["a and b"] < 1e-100
    assert min(p for name, p in pairs.items() if "c" in name) > 1e-6
    repeated = draw()
    repeated[::40] = noise[:N][::-1][::40]  # 2.5% of the numbers, in another order
    found = dependence_p_values([residual(noise[:N], "a"), residual(repeated, "b")])
    assert found["a repeated in b"] < 1e-9


def test_noise_that_cancels_or_adds_up_over_time_shows_in_the_sum() -> None:
    common = draw()
    mixed = [np.rint(0.6 * draw() + 0.8 * common).astype(np.int64) for _ in range(6)]
    assert pooled_p_values([residual(x) for x in mixed])["size of the sum"] < 1e-100
    rounds = [draw() for _ in range(6)]
    for x in rounds:
        x[5] //= 1000
    assert pooled_p_values([residual(x) for x in rounds])["size of one place"] < 1e-9
    honest = pooled_p_values([residual(draw()) for _ in range(6)])
    assert smallest(honest)[1] > 1e-6
