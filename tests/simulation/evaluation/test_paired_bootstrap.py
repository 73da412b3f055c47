"""The statistics of a sweep against slow and obvious versions, and against their own promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from simulation.evaluation.paired_bootstrap import (
    bootstrap_by_shop,
    holm,
    interval_of,
    ratio,
    two_sided_p,
)

SHARES = st.floats(0, 1, allow_nan=False)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_means_are_over_all_users_together_and_draws_have_the_right_spread() -> None:
    shops = [rng(s).normal(s, 1 + s, size=(20 * (s + 1), 2)) for s in range(3)]
    drawn = bootstrap_by_shop(shops, draws=20_000, rng=rng())
    assert drawn.means == pytest.approx(np.concatenate(shops).mean(axis=0))
    assert drawn.shop_means == pytest.approx(np.stack([s.mean(axis=0) for s in shops]))
    n = sum(len(s) for s in shops)
    # Users vary within their shops only: the distance between the shops' levels plays no part.
    variance = sum(len(s) * s.var(axis=0) for s in shops) / n**2
    assert drawn.draws.std(axis=0) == pytest.approx(np.sqrt(variance), rel=0.03)
    assert drawn.draws.mean(axis=0) == pytest.approx(drawn.means, abs=0.02)


def test_each_draw_keeps_every_shops_number_of_users_and_pairs_the_columns() -> None:
    shops = [np.array([[0.0, 10.0], [1.0, 11.0]]), np.array([[5.0, 15.0]] * 3)]
    drawn = bootstrap_by_shop(shops, draws=500, rng=rng())
    assert set(np.round(drawn.draws[:, 0] * 5)) == {15.0, 16.0, 17.0}
    assert drawn.draws[:, 1] - drawn.draws[:, 0] == pytest.approx(10.0)


def test_drawing_in_blocks_makes_no_statistical_difference() -> None:
    values = [rng().normal(size=(50, 1))]
    whole = bootstrap_by_shop(values, draws=3000, rng=rng(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulation.evaluation.paired_bootstrap._CELLS", 50 * 7)
        blocks = bootstrap_by_shop(values, draws=3000, rng=rng(1))
    assert blocks.draws.shape == whole.draws.shape
    assert blocks.draws.std() == pytest.approx(whole.draws.std(), rel=0.1)


def test_no_shops_and_empty_shops_are_refused() -> None:
    for shops in ([], [np.zeros((0, 2))]):
        with pytest.raises(ValueError, match="at least 1"):
            bootstrap_by_shop(shops, rng=rng())


def naive_p(draws: np.ndarray) -> float:
    below = sum(1 for d in draws if d <= 0) + 1
    above = sum(1 for d in draws if d >= 0) + 1
    return min(1.0, 2 * min(below, above) / (len(draws) + 1))


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50))
def test_p_agrees_with_counting(draws: list[float]) -> None:
    assert two_sided_p(np.array(draws)) == naive_p(np.array(draws))


def test_p_is_1_where_nothing_differs_and_never_0() -> None:
    assert two_sided_p(np.zeros(100)) == 1.0
    assert two_sided_p(np.ones(999)) == pytest.approx(2 / 1000)


def naive_holm(p_values: list[float]) -> list[float]:
    """The smallest level at which the step-down procedure rejects each hypothesis."""
    adjusted = []
    for mine in p_values:
        steps = [(sum(1 for other in p_values if other >= p)) * p for p in p_values if p <= mine]
        adjusted.append(min(1.0, max(steps)))
    return adjusted


@given(st.lists(SHARES, max_size=8))
def test_holm_agrees_with_the_step_down_procedure(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(naive_holm(p_values))


def test_holm_on_a_published_example() -> None:
    # Four p-values with the answer of R's p.adjust(c(.01, .04, .03, .005), "holm").
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_a_ratio_is_one_of_means_and_missing_where_its_denominator_may_be_0() -> None:
    under = rng().normal(4.0, 0.5, 5000)
    found = ratio((2.0, under / 2), (4.0, under))
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert ratio((1.0, under), (0.1, rng().normal(0.1, 1.0, 5000))) is None
    assert ratio((1.0, under), (0.0, np.zeros(5000))) is None
    negative = ratio((1.0, np.ones(5000)), (-2.0, np.full(5000, -2.0)))
    assert negative is not None
    assert negative.mean == -0.5


def sample(generator: np.random.Generator, gain: float) -> list[np.ndarray]:
    """Users of five shops: skewed values and mostly zero differences, as NDCG has them."""
    shops = []
    for size in (20, 30, 40, 60, 100):
        local = generator.beta(0.5, 4.0, size)
        change = generator.exponential(0.1, size) * (generator.random(size) < 0.3)
        shops.append(np.stack([local, change - 0.03 + gain], axis=1))
    return shops


def test_intervals_cover_and_p_values_err_as_often_as_they_promise() -> None:
    covered, rejected, repetitions = 0, 0, 300
    for seed in range(repetitions):
        drawn = bootstrap_by_shop(sample(rng(seed), 0.0), draws=400, rng=rng(10_000 + seed))
        found = interval_of((drawn.means[1], drawn.draws[:, 1]))
        covered += found.low <= 0.0 <= found.high
        rejected += two_sided_p(drawn.draws[:, 1]) < 0.05
    # 95% and 5%, give or take three binomial errors and what skewness costs a percentile interval
    assert 0.90 <= covered / repetitions <= 0.99
    assert rejected / repetitions <= 0.10


def test_intervals_of_the_recovered_headroom_cover_the_ratio_of_true_means() -> None:
    truth, repetitions, covered = 0.4, 300, 0
    for seed in range(repetitions):
        generator, shops = rng(seed), []
        for size in (30, 60, 90):
            headroom = generator.normal(0.05, 0.1, size)
            gain = truth * headroom + generator.normal(0.0, 0.05, size)
            shops.append(np.stack([gain, headroom], axis=1))
        drawn = bootstrap_by_shop(shops, draws=400, rng=rng(10_000 + seed))
        (gain, headroom), draws = drawn.means, drawn.draws
        found = ratio((gain, draws[:, 0]), (headroom, draws[:, 1]))
        assert found is not None
        covered += found.low <= truth <= found.high
    assert 0.90 <= covered / repetitions <= 0.99


def test_a_real_gain_is_found_and_its_interval_is_close_to_the_t_interval() -> None:
    values = [rng(s).normal(0.02, 0.1, size=(200, 1)) for s in range(4)]
    drawn = bootstrap_by_shop(values, draws=10_000, rng=rng())
    found, together = interval_of((drawn.means[0], drawn.draws[:, 0])), np.concatenate(values)[:, 0]
    error = stats.sem(together)
    assert found.low == pytest.approx(together.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(together.mean() + 1.96 * error, abs=0.1 * error)
    assert two_sided_p(drawn.draws[:, 0]) < 0.001
