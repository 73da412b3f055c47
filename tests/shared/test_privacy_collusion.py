"""What is left of shared noise if shops help the server: against noise that is taken away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dp_accounting.gaussian_mechanism import get_epsilon_gaussian

from shared.errors import PrivacyError
from shared.privacy.accounting import epsilon_pair, guarantee
from shared.privacy.collusion import collusion_table, epsilon_if_colluding
from shared.privacy.guarantee import Mechanism, own_noise

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


def test_the_table_has_nobody_one_and_the_largest_minority() -> None:
    rows = collusion_table(SHARED, delta=DELTA)
    assert [row.shops for row in rows] == [0, 1, 3]
    assert rows[0].epsilon == epsilon_pair(SHARED, DELTA)[0]
    assert rows[0].epsilon < rows[1].epsilon < rows[2].epsilon
    for together, shops in ((2, [0, 1]), (3, [0, 1]), (5, [0, 1, 2])):
        few = [replace(m, shared_by=together) for m in SHARED]
        assert [row.shops for row in collusion_table(few, delta=DELTA)] == shops


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
        "holds for the sum of all shops' releases: it assumes secure aggregation, that shops add "
        "their noise honestly, and that none drops out"
    )


def test_a_mechanism_of_no_shop_is_refused() -> None:
    with pytest.raises(PrivacyError, match="shared_by=0 must be a whole number of at least 1"):
        epsilon_pair([replace(SHARED[0], shared_by=0)], DELTA)
