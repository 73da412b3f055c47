"""Several records of one person in one sum: against closed forms and integrals of our own."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binom, norm

from shared.errors import PrivacyError
from shared.privacy.accounting.accountants import (
    GAUSSIAN,
    UnboundedError,
    epsilon_pair,
    epsilon_prv,
)
from shared.privacy.accounting.group_privacy import (
    MIXTURE,
    _mixture_epsilon,
    epsilon_of_person,
    for_group,
)
from shared.privacy.accounting.guarantee import Mechanism

DELTA = 1e-5


def exact_gaussian(mu: float, delta: float) -> float:
    """Epsilon of a Gaussian mechanism of this mu, from its closed form (Balle and Wang 2018)."""

    def excess(epsilon: float) -> float:
        low = norm.cdf(-mu / 2 - epsilon / mu)
        return float(norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * low - delta)

    return float(brentq(excess, 0, 500))


def hockey_stick(p: NDArray[np.float64], q: NDArray[np.float64], epsilon: float) -> float:
    return float(np.maximum(p - math.exp(epsilon) * q, 0).sum())


@pytest.mark.parametrize("records", [1, 2, 3, 5])
def test_a_full_batch_costs_a_person_mu_times_the_records(records: int) -> None:
    plan = [Mechanism("dp-sgd", 4.0, 1.0, 4, 0.01), Mechanism("item-counts", 1.5, 1.0, 1, 1.0)]
    mu = math.sqrt(4 / 16 + 1 / 1.5**2)
    found, accountant = epsilon_of_person([(mechanism, records) for mechanism in plan], DELTA)
    assert found == pytest.approx(exact_gaussian(records * mu, DELTA), rel=1e-6)
    assert accountant == GAUSSIAN


@pytest.mark.slow
@pytest.mark.parametrize("records", [2, 3, 5])
@pytest.mark.parametrize(("noise", "rate"), [(1.0, 0.1), (2.0, 0.5), (0.8, 0.02)])
def test_with_coins_the_figure_is_that_of_the_mixture_of_all_cases(
    records: int, noise: float, rate: float
) -> None:
    x = np.arange(-20 * noise, records + 20 * noise, 4e-3)
    without = norm.pdf(x, scale=noise) * 4e-3
    drawn = range(records + 1)
    person = sum(
        binom.pmf(n, records, rate) * norm.pdf(x, loc=n, scale=noise) * 4e-3 for n in drawn
    )
    one = Mechanism("dp-sgd", noise, rate, 1, 1.0)
    exact, accountant = epsilon_of_person([(one, records)], DELTA)
    assert accountant == MIXTURE
    worst = max(hockey_stick(*pair, exact) for pair in ((person, without), (without, person)))
    assert worst <= DELTA * (1 + 1e-4)  # of our own integral, in steps of 0.004
    below = max(exact - 0.03, 0.0)  # the accountant rounds its bins up: less is not enough
    assert max(hockey_stick(person, without, below), hockey_stick(without, person, below)) > DELTA
    # Nor is one user's account, or that of independent noise in as many sums.
    assert hockey_stick(person, without, epsilon_prv([one] * records, DELTA)) > DELTA
    # What filters use, which know no mixtures, is larger.
    assert epsilon_prv([for_group(one, records)], DELTA) > exact


@pytest.mark.slow
def test_sampled_groups_compose_with_the_rest_and_grow_with_the_records() -> None:
    plan, other = Mechanism("dp-sgd", 3.0, 0.1, 10, 1.0), Mechanism("item-counts", 5.0, 1.0, 1, 1.0)
    epsilons = [epsilon_of_person([(plan, n), (other, n)], DELTA)[0] for n in (1, 2, 3)]
    assert epsilons == sorted(epsilons)
    assert epsilons[0] == max(epsilon_pair([plan, other], DELTA))
    once = epsilon_of_person([(plan, 2), (other, 1)], DELTA)[0]
    assert epsilons[0] < once < epsilons[1]
    everyone, _ = epsilon_of_person([(replace(plan, sample_rate=1.0), 2), (other, 2)], DELTA)
    assert epsilons[1] < everyone
    assert for_group(plan, 1) == plan


def test_the_mixture_of_one_record_is_plain_poisson_sampling() -> None:
    """The accountant against Opacus' and Google's for what all of them know."""
    plan = Mechanism("dp-sgd", 1.6, 0.1, 100, 1.0)
    single = _mixture_epsilon(((1.6, 0.1, 1, 100),), DELTA)
    assert (
        max(epsilon_pair([plan], DELTA)) - 0.01 < single < max(epsilon_pair([plan], DELTA)) + 0.05
    )


def test_groups_that_nothing_bounds_are_said_to_be_that() -> None:
    for rate in (1.0, 0.5):
        with pytest.raises(UnboundedError, match="must be at least 0"):
            epsilon_of_person([(Mechanism("pair-sums", 0.7, rate, 1, 1.0), 10)], DELTA)
    with pytest.raises(PrivacyError, match="records=0 must be at least 1"):
        for_group(Mechanism("pair-sums", 0.7, 1.0, 1, 1.0), 0)
