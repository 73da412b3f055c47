"""What a person costs who is several records of one noisy sum.

Libraries account: with all users in every step the accountants of everything else, on a mechanism
with less noise; with Poisson sampling Google's privacy loss distribution of a mixture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from dp_accounting.pld import privacy_loss_distribution
from scipy.stats import binom

from shared.errors import PrivacyError
from shared.privacy.accounting.accountants import (
    GAUSSIAN,
    MIN_DELTA,
    PLD,
    PRV,
    UnboundedError,
    check_mechanism,
    epsilon_pair,
    refuse_absurd,
    require_agreement,
)
from shared.privacy.accounting.guarantee import Mechanism

MIXTURE = "dp-accounting PLD of mixtures of Gaussians (Ganesh 2024)"
"""Accountant of persons who are several records of sampled sums."""
MIXTURE_BIN = 5e-3
"""Width of the bins of its losses. They are rounded up: epsilon is some hundredths too large."""

PersonParts = Sequence[tuple[Mechanism, int]]
"""Noisy sums, each with the number of its records that are one person."""


def epsilon_of_person(parts: PersonParts, delta: float) -> tuple[float, str]:
    """Computes epsilon of a person who is several records of each sum.

    Args:
        parts: Everything that is released, fixed before the first step.
        delta: Total delta.

    Returns:
        Epsilon, the larger one where two accountants compute it, and the accountant.

    Guarantee:
        Everything together is (epsilon, delta)-DP under add or remove of all records of the person.

        All users in every step: together the records move a sum by at most as many norms as they
        are, which equal records reach. The noise multiplier is divided by their number: mu is that
        many times as large.

        Poisson sampling: each record has a coin of its own, so that a binomial number of them is
        drawn, and the sum moves by at most as many norms: the mixture of Gaussians that
        https://arxiv.org/abs/2401.10294 shows to be the worst case.

    Raises:
        PrivacyError: A mechanism is unknown, the accountants disagree, or nothing bounds epsilon.
    """
    if all(mechanism.sample_rate == 1 or records == 1 for mechanism, records in parts):
        plain = [for_group(mechanism, records) for mechanism, records in parts]
        epsilon, check = epsilon_pair(plain, delta)
        require_agreement(epsilon, check, PLD)
        full = all(mechanism.sample_rate == 1 for mechanism in plain)
        return max(epsilon, check), GAUSSIAN if full else PRV
    steps: dict[tuple[float, float, int], int] = {}
    for mechanism, records in parts:
        check_mechanism(mechanism)
        if mechanism.steps:
            key = (float(mechanism.noise_multiplier), float(mechanism.sample_rate), records)
            steps[key] = steps.get(key, 0) + mechanism.steps
    groups = tuple((*key, number) for key, number in sorted(steps.items()))
    refuse_absurd(tuple((noise / n, rate, number) for noise, rate, n, number in groups))
    return _mixture_epsilon(groups, delta), MIXTURE


@lru_cache(maxsize=1024)
def _mixture_epsilon(groups: tuple[tuple[float, float, int, int], ...], delta: float) -> float:
    if not MIN_DELTA <= delta < 1:
        raise PrivacyError(
            f"must be at least {MIN_DELTA} and below 1",
            name="delta",
            value=delta,
            remedy="raise it",
        )
    total = privacy_loss_distribution.identity(value_discretization_interval=MIXTURE_BIN)
    for noise, rate, records, steps in groups:
        drawn = list(range(records + 1))
        one = privacy_loss_distribution.from_mixture_gaussian_mechanism(
            noise,
            [float(number) for number in drawn],
            [float(binom.pmf(number, records, rate)) for number in drawn],
            value_discretization_interval=MIXTURE_BIN,
        )
        total = total.compose(one.self_compose(steps))
    epsilon = float(total.get_epsilon_for_delta(delta))
    if not 0 <= epsilon < float("inf"):
        raise UnboundedError(
            f"epsilon={epsilon} of {groups} (noise_multiplier, sample_rate, records, steps) is not "
            "finite",
            remedy="raise the noise or delta",
        )
    return epsilon


def for_group(mechanism: Mechanism, records: int) -> Mechanism:
    """Returns a mechanism that costs one record at least what this one costs `records` of them.

    Exact with all users in every step; an upper bound, often several times too large, with Poisson
    sampling, for accountants that know no mixtures (a Rényi filter).

    Args:
        mechanism: A noisy sum, in which each record has a norm of at most `max_norm`.
        records: Records of one person in that one sum: ids in one shop, or shops that share noise.

    Guarantee:
        What bounds the result under add or remove of one record bounds `mechanism` under add or
        remove of all `records` together. Poisson sampling at rate q: with probability
        `(1 - q) ** records` no record is drawn and the step is as without the person; else those
        that are drawn move the sum by at most `records` norms. As divergences are convex, the step
        is bounded by one of rate `1 - (1 - q) ** records` whose noise multiplier is divided by
        `records`.

    Raises:
        PrivacyError: `records` is below 1.
    """
    if records < 1:
        raise PrivacyError(
            "must be at least 1", name="records", value=records, remedy="count the person once"
        )
    q = mechanism.sample_rate
    return replace(
        mechanism,
        noise_multiplier=mechanism.noise_multiplier / records,
        sample_rate=q if q == 1 or records == 1 else 1 - (1 - q) ** records,
    )
