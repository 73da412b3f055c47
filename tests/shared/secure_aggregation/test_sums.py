"""Sums: exact for whoever sent input, with drop-outs at every stage; nothing where too many go."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest
from scipy import stats

from shared.errors import PrivacyError
from shared.privacy.noise import RandomSource, discrete_gaussian, grid_variance
from shared.secure_aggregation.masks import MODULUS, unpack
from tests.shared.secure_aggregation import parties
from tests.shared.secure_aggregation.parties import federation

STAGES = ("keys", "shares", "input", "confirm", "open")


@pytest.mark.parametrize("k", [3, 8, *(pytest.param(k, marks=pytest.mark.slow) for k in (20, 100))])
def test_sums_are_exact(k: int) -> None:
    f = federation(k)
    f.deal()
    for release in parties.RELEASES:
        assert f.opened(f.add_all(release)).tolist() == f.true_sum(f.names).tolist()


def run_with_gone(f: parties.Federation, gone: dict[str, str]) -> list[int]:
    """Runs one sum; `gone` says at which stage a shop stops answering."""

    def there(stage: str) -> list[str]:
        at = STAGES.index(stage)
        return [s for s in f.names if s not in gone or STAGES.index(gone[s]) > at]

    keys = f.send_keys(there("keys"))
    for name in there("shares"):
        f.server.add_shares(f.shop(name).deal_shares(keys))
    f.server.fix_dealers()
    total = f.add_all(shops=there("input"))
    request = total.confirm_request()
    for name in there("confirm"):
        total.add_signature(name, f.shop(name).confirm(request))
    signatures = total.open_request()
    for name in there("open"):
        total.add_shares(f.shop(name).open_shares(signatures))
    assert list(total.survivors) == there("input")
    return total.total().tolist()


@pytest.mark.parametrize("stage", STAGES)
def test_a_shop_may_be_gone_at_any_stage(stage: str) -> None:
    f = federation(8)
    left = [s for s in f.names if s != "shop-003" or stage in ("confirm", "open")]
    assert run_with_gone(f, {"shop-003": stage}) == f.true_sum(left).tolist()


@pytest.mark.parametrize("stages", list(itertools.combinations_with_replacement(STAGES, 2)))
def test_two_may_be_gone_at_any_two_stages(stages: tuple[str, str]) -> None:
    f = federation(9, max_missing=2, max_colluding=1)
    gone = dict(zip(("shop-002", "shop-005"), stages, strict=True))
    left = [s for s in f.names if gone.get(s, "open") in ("confirm", "open")]
    assert run_with_gone(f, gone) == f.true_sum(left).tolist()


@pytest.mark.parametrize("stage", STAGES)
def test_more_gone_than_may_be_opens_nothing(stage: str) -> None:
    f = federation(8)
    with pytest.raises(PrivacyError, match="must be at least 7, the least number of shops"):
        run_with_gone(f, {"shop-000": "open" if stage == "keys" else "keys", "shop-003": stage})


def test_a_shop_that_missed_one_sum_is_in_the_next() -> None:
    f = federation(4)
    f.deal()
    first = f.opened(f.add_all("counts", f.names[1:]))
    assert first.tolist() == f.true_sum(f.names[1:]).tolist()
    assert f.opened(f.add_all("adapter-1")).tolist() == f.true_sum(f.names).tolist()


def test_too_few_inputs_wait_for_the_shop_that_comes_back() -> None:
    f = federation(3)
    f.deal()
    total = f.add_all(shops=f.names[1:])
    with pytest.raises(PrivacyError, match="survivors=2 must be at least 3"):
        total.confirm_request()
    total.add("shop-000", f.masked("shop-000"))
    assert f.opened(total).tolist() == f.true_sum(f.names).tolist()


def test_masked_vectors_and_partial_sums_are_uniform() -> None:
    """Also the sum of all but one, and the difference of two: no mask is used by two shops."""
    f = federation(4)
    f.numbers = {name: np.zeros(40_000, np.int64) for name in f.names}
    f.deal()
    masked = [unpack(f.masked(name)) for name in f.names]
    sums = [
        *masked,
        masked[0] + masked[1] + masked[2],
        masked[0] - masked[1],
        masked[2] + masked[3],
    ]
    for values in sums:
        low = (values % np.uint64(MODULUS)).astype(np.float64) / MODULUS
        assert stats.kstest(low, "uniform").pvalue > 0.001
    again = [unpack(f.masked(name, "adapter-1")) for name in f.names]
    for one, other in itertools.product(masked, again):
        assert not np.any(one == other)


def test_a_sum_may_be_as_large_as_the_ring_and_no_larger() -> None:
    f = federation(4)
    largest = MODULUS // 2 // 4 - 1
    for name in f.names:
        f.numbers[name] = np.tile([largest, -largest], parties.N // 2)
    f.deal()
    assert f.opened(f.add_all()).tolist() == f.true_sum(f.names).tolist()
    f.numbers["shop-000"] = np.full(parties.N, largest + 1)
    with pytest.raises(PrivacyError, match="numbers: must be below"):
        f.masked("shop-000", "adapter-1")


@pytest.mark.parametrize("gone", [0, 1])
def test_shares_of_the_noise_add_up_to_what_is_paid_for(gone: int) -> None:
    """With d gone and t that add none the accounted noise is left; with all there, K / n of it."""
    f, z, n = federation(8), 0.7, 20_000
    share = grid_variance(z, shops=f.roster.noise_shops)
    random = RandomSource(os.urandom(32), repeatable=False)
    silent = f.names[-2:] if gone else ()
    for name in f.names:
        drawn = discrete_gaussian(random, n, variance=share)
        f.numbers[name] = np.zeros(n, np.int64) if name in silent else drawn
    f.deal()
    total = f.server.masked_sum("counts", asked=parties.ASKED, size=n)
    for name in f.names[gone:]:
        total.add(name, f.masked(name))
    noise = f.opened(total).astype(np.float64)
    shares = 5 if gone else 8
    assert stats.kstest(noise / np.sqrt(shares * share), "norm").pvalue > 0.001
    spread = 5 * np.sqrt(2 / n)
    assert noise.var() == pytest.approx(shares * share, rel=spread)
    if gone:
        assert noise.var() == pytest.approx((z * 2**20) ** 2, rel=spread)
