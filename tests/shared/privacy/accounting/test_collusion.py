"""What is left of shared noise if shops help the server: against noise that is taken away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dp_accounting.gaussian_mechanism import get_epsilon_gaussian

from shared.errors import PrivacyError
from shared.privacy.accounting.accountants import epsilon_pair, guarantee
from shared.privacy.accounting.collusion import (
    collusion_table,
    epsilon_if_colluding,
    own_mechanisms,
)
from shared.privacy.accounting.guarantee import Mechanism, own_noise
from shared.privacy.accounting.roster_bounds import RosterBounds

DELTA = 1e-5
SHARED = (
    Mechanism("dp-sgd", 3.0, 1.0, 4, 0.01, 8),
    Mechanism("pair-sums", 2.0, 1.0, 1, 1.0, 8),
)


@pytest.mark.parametrize("shops", [0, 1, 3, 7])
def test_epsilon_is_that_of_the_noise_of_the_honest_shops(shops: int) -> None:
    honest = [own_noise(m.noise_multiplier, 8) * np.sqrt(8 - shops) for m in SHARED]
    mu = np.sqrt(4 / honest[0] ** 2 + 1 / honest[1] ** 2)
    expected = get_epsilon_gaussian(1 / mu, DELTA)
    found = epsilon_if_colluding(SHARED, delta=DELTA, shops=shops)
    assert found == pytest.approx(expected, rel=1e-9)


def test_the_table_of_an_ideal_sum_has_nobody_one_the_largest_minority_and_all_others() -> None:
    rows = collusion_table(SHARED, delta=DELTA)
    assert [row.shops for row in rows] == [0, 1, 3, 7]
    assert rows[0].epsilon == epsilon_pair(SHARED, DELTA)[0]
    epsilons = [row.epsilon for row in rows if row.epsilon is not None]
    assert epsilons == sorted(set(epsilons))
    assert len(epsilons) == 4
    for together, shops in ((2, [0, 1]), (3, [0, 1, 2]), (5, [0, 1, 2, 4])):
        few = [replace(m, shared_by=together) for m in SHARED]
        assert [row.shops for row in collusion_table(few, delta=DELTA)] == shops


ROSTER = RosterBounds(shops=11, max_missing=1, max_colluding=2)
"""Noise is shared by 8."""


def test_the_first_row_holds_for_as_many_as_the_roster_allows() -> None:
    rows = collusion_table(SHARED, delta=DELTA, bounds=ROSTER)
    assert [row.shops for row in rows] == [2, 3, 5, 10]
    planned = epsilon_pair(SHARED, DELTA)[0]
    assert rows[0].epsilon == planned
    for shops in (0, 1, 2):
        found = epsilon_if_colluding(SHARED, delta=DELTA, shops=shops, bounds=ROSTER)
        assert found == planned
    own = epsilon_pair(own_mechanisms(SHARED), DELTA)[0]
    assert rows[-1].epsilon == pytest.approx(own, rel=1e-9)


@pytest.mark.parametrize(
    ("shops", "shares"),
    [(0, 8), (2, 8), (3, 7), (5, 5), (8, 2), (9, 1), (10, 1)],
)
def test_every_further_shop_takes_one_share(shops: int, shares: int) -> None:
    assert ROSTER.honest_shares(shops) == shares
    found = epsilon_if_colluding(SHARED, delta=DELTA, shops=shops, bounds=ROSTER)
    left = [replace(m, noise_multiplier=m.noise_multiplier * np.sqrt(shares / 8)) for m in SHARED]
    assert found == pytest.approx(epsilon_pair(left, DELTA)[0], rel=1e-9)


def test_where_two_sets_could_be_opened_one_share_is_left() -> None:
    # Of 11 shops 7 open a set: with 3 helpers, 4 of 8 others sign one set and 4 the other.
    roster = RosterBounds(shops=11, max_missing=4, max_colluding=1)
    assert roster.check() == roster
    assert roster.one_set(2)
    assert roster.honest_shares(2) == 5
    assert not roster.one_set(3)
    assert roster.honest_shares(3) == 1


def test_a_table_is_of_the_roster_that_shares_the_noise() -> None:
    other = RosterBounds(shops=11, max_missing=1, max_colluding=3)
    with pytest.raises(PrivacyError, match="shared_by=8 must be noise_shops=7 of the roster"):
        collusion_table(SHARED, delta=DELTA, bounds=other)


def test_a_shop_that_adds_all_of_its_noise_has_no_table() -> None:
    assert collusion_table([replace(m, shared_by=1) for m in SHARED], delta=DELTA) == ()


@pytest.mark.parametrize("shops", [-1, 8])
def test_all_shops_cannot_collude_against_themselves(shops: int) -> None:
    with pytest.raises(PrivacyError, match=f"shops={shops} that collude must be .* below 8"):
        epsilon_if_colluding(SHARED, delta=DELTA, shops=shops)


def test_noise_below_any_accountant_has_no_epsilon() -> None:
    least = (Mechanism("dp-sgd", 0.1, 0.001, 1, 0.01, 4),)
    assert epsilon_if_colluding(least, delta=DELTA, shops=0) is not None
    assert epsilon_if_colluding(least, delta=DELTA, shops=3) is None


def test_the_guarantee_of_shared_noise_says_what_it_assumes() -> None:
    assert (
        "the shop's own machine is trusted"
        in guarantee([replace(m, shared_by=1) for m in SHARED], delta=DELTA).trust
    )
    assert guarantee(SHARED, delta=DELTA).trust == (
        "holds for sums over shops alone: it assumes secure aggregation, and that in each sum as "
        "many shops as share the noise add it honestly and do not help the server"
    )


def test_a_mechanism_of_no_shop_is_refused() -> None:
    with pytest.raises(PrivacyError, match="shared_by=0 must be a whole number of at least 1"):
        epsilon_pair([replace(SHARED[0], shared_by=0)], DELTA)
