"""A shop's own guarantee where noise is shared: what all other shops together could learn."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from shared.errors import PrivacyError
from shared.privacy.accounting.accountants import epsilon_pair
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger import renyi_filter
from shared.privacy.ledger.own_guarantee import own_epsilon
from shared.privacy.ledger.spending import spent
from tests.shared.privacy.ledger.shop_ledgers import PLAN, full_run, open_ledger, request
from tests.shared.privacy.ledger.sums import SHARED, shared_counts

OWN = tuple(replace(m, noise_multiplier=m.noise_multiplier / math.sqrt(3)) for m in PLAN)
"""`SHARED` by hand: noise shared by 3."""


def test_the_own_epsilon_is_that_of_the_share(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.reserve(shared_counts())
    assert own_epsilon(ledger.chain) == pytest.approx(max(epsilon_pair(OWN, 1e-5)))
    assert spent(ledger.chain).bound == pytest.approx(max(epsilon_pair(PLAN, 1e-5)))


def test_without_shared_noise_both_are_one(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    full_run(ledger)
    assert own_epsilon(ledger.chain) == spent(ledger.chain).bound


def test_a_plan_above_the_owners_bound_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    ledger, most = open_ledger(tmp_path), max(epsilon_pair(OWN, 1e-5))
    with pytest.raises(PrivacyError) as refused:
        ledger.reserve(shared_counts(), max_own_epsilon=most - 0.01)
    assert len(ledger.chain.line_hashes) == 1
    line = str(refused.value)
    assert f"max_own_epsilon={most - 0.01:g} must be at least {most:.4g} at delta=1e-05" in line
    assert "--noise shop" in line
    assert "\n" not in line
    ledger.reserve(shared_counts(), max_own_epsilon=most + 1e-6)


def test_everything_reserved_before_counts(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.reserve(request(1, run="r0", planning="planned"))
    both = max(epsilon_pair((*PLAN, *OWN), 1e-5))
    asked = shared_counts(planning="planned")
    with pytest.raises(PrivacyError, match="max_own_epsilon"):
        ledger.reserve(asked, max_own_epsilon=both - 0.01)
    ledger.reserve(asked, max_own_epsilon=both + 1e-6)


def test_what_is_paid_for_is_not_refused(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.reserve(shared_counts())
    ledger.reserve(
        request(1, plan=SHARED, mechanism=replace(SHARED[0], steps=1)), max_own_epsilon=0
    )


def test_adaptive_releases_pass_the_same_filter_with_the_share_alone(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    asked = shared_counts(planning="adaptive")
    ledger.reserve(asked)
    fixed = ledger.chain.filter
    assert fixed is not None
    expected = renyi_filter.epsilon_filter(OWN[1:], 1e-5 / 2, fixed.order)
    assert own_epsilon(ledger.chain) == pytest.approx(expected, rel=1e-6)
    other = open_ledger(tmp_path, "south")
    with pytest.raises(PrivacyError, match="max_own_epsilon"):
        other.reserve(asked, max_own_epsilon=expected - 0.01)


def test_noise_below_any_accountant_passes_no_bound(tmp_path: Path) -> None:
    plan = (Mechanism("item-counts", 0.9, 1.0, 1, 1.0, shared_by=100, grid=2**20),)
    asked = request(0, plan=plan, mechanism=plan[0])
    ledger = open_ledger(tmp_path)
    with pytest.raises(PrivacyError, match="must be more than any accountant bounds"):
        ledger.reserve(asked, max_own_epsilon=1e6)
    ledger.reserve(asked)
    assert own_epsilon(ledger.chain) == math.inf
