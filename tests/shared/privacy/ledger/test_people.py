"""What people pay who are users of several shops, or several users of one."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from click.testing import CliRunner

from shared.cli import root
from shared.privacy.accounting.accountants import epsilon_pair
from shared.privacy.accounting.group_privacy import epsilon_of_person, for_group
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger import renyi_filter
from shared.privacy.ledger.log.entries import LifetimeLimits
from shared.privacy.ledger.reporting.people import (
    compose_shops,
    composition_text,
    group_table,
    group_text,
    overlaid_sums,
)
from shared.privacy.noise import GRID
from tests.shared.privacy.accounting.test_group_privacy import exact_gaussian
from tests.shared.privacy.ledger.shop_ledgers import PLAN, full_run, open_ledger, request

DELTA = 1e-5
MU_SQUARED = 4 / 16 + 1 / 36
"""Of `PLAN`."""
TOGETHER = tuple(replace(m, shared_by=2) for m in PLAN)


def shared_run(ledger, run: str = "r1", *, plan=TOGETHER, planning=None) -> None:
    asked = replace(plan[0], steps=1)
    ledger.reserve(request(1, run=run, plan=plan, mechanism=asked, planning=planning))


def mu_of(epsilon: float) -> float:
    """The mu whose exact epsilon this is."""
    low, high = 0.01, 50.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if exact_gaussian(middle, DELTA) < epsilon else (low, middle)
    return low


def test_two_shops_of_epsilon_8_with_shared_noise_cost_19(tmp_path) -> None:
    """The figure by the closed form is 19.12; independent noise would give 12.26."""
    mu = mu_of(8)
    plan = (
        Mechanism("dp-sgd", 2**1.5 / mu, 1.0, 4, 1.0, 2, GRID),
        Mechanism("pair-sums", 2**0.5 / mu, 1.0, 1, 1.0, 2, GRID),
    )
    limits = LifetimeLimits(epsilon=8.01, delta=DELTA)
    shops = [open_ledger(tmp_path / "ledgers", name, limits=limits) for name in ("north", "south")]
    for shop in shops:
        shared_run(shop, plan=plan)
    expected = exact_gaussian(2 * mu, DELTA)
    assert expected == pytest.approx(19.12, abs=0.005)
    found = compose_shops([shop.chain for shop in shops])
    assert found.epsilon == pytest.approx(expected, abs=1e-4)
    output = (
        CliRunner()
        .invoke(root, ["privacy", "status", str(tmp_path / "ledgers"), "--shops", "all"])
        .output
    )
    assert "epsilon 19.12" in output
    assert "one sum holds the person once for each shop" in " ".join(output.split())
    alone = [replace(m, shared_by=1) for m in plan]
    assert max(epsilon_pair(alone * 2, DELTA)) == pytest.approx(12.26, abs=0.01)


def test_runs_with_shared_noise_add_mu_and_other_runs_add_its_square(tmp_path) -> None:
    a, b, c = (open_ledger(tmp_path, name) for name in "abc")
    for shop in (a, b, c):
        shared_run(shop, "same")
    shared_run(a, "only-a", planning="planned")
    full_run(b, "own-noise", rounds=0)
    full_run(c, "own-noise", rounds=0)
    squares = {"same": 9, "only-a": 1, "own-noise": 2}
    mu = math.sqrt(MU_SQUARED * sum(squares.values()))
    found = compose_shops([shop.chain for shop in (a, b, c)])
    assert found.epsilon == pytest.approx(exact_gaussian(mu, DELTA), abs=1e-4)
    assert found.shared_runs == ("same",)
    pair = compose_shops([a.chain, b.chain])
    mu = math.sqrt(MU_SQUARED * (4 + 1 + 1))
    assert pair.epsilon == pytest.approx(exact_gaussian(mu, DELTA), abs=1e-4)


def test_different_runs_with_shared_noise_are_independent(tmp_path) -> None:
    a, b = (open_ledger(tmp_path, name) for name in "ab")
    shared_run(a, "one")
    shared_run(b, "other")
    found = compose_shops([a.chain, b.chain])
    mu = math.sqrt(2 * MU_SQUARED)
    assert found.epsilon == pytest.approx(exact_gaussian(mu, DELTA), abs=1e-4)
    assert found.shared_runs == ()
    assert "one sum" not in composition_text(found)


def test_a_shop_that_reserved_less_of_a_run_is_in_fewer_sums(tmp_path) -> None:
    a, b = (open_ledger(tmp_path, name) for name in "ab")
    shared_run(a)
    short = (replace(TOGETHER[0], steps=1), TOGETHER[1])
    shared_run(b, plan=short)
    found = compose_shops([a.chain, b.chain])
    mu = math.sqrt((3 + 1 * 4) / 16 + 4 / 36)  # three steps of one shop, one of both, both counts
    assert found.epsilon == pytest.approx(exact_gaussian(mu, DELTA), abs=1e-4)
    parts = overlaid_sums([a.chain, b.chain], "planned")
    assert sorted((p.mechanism.name, p.mechanism.steps, p.records) for p in parts) == [
        ("dp-sgd", 1, 2),
        ("dp-sgd", 3, 1),
        ("item-counts", 1, 2),
    ]


def test_shared_sums_of_sampled_users_are_mixtures(tmp_path) -> None:
    plan = (Mechanism("dp-sgd", 3.0, 0.1, 4, 1.0, 2),)
    a, b = (open_ledger(tmp_path, name) for name in "ab")
    for shop in (a, b):
        shared_run(shop, plan=plan)
    found = compose_shops([a.chain, b.chain])
    assert (found.epsilon, found.accountant) == epsilon_of_person([(plan[0], 2)], DELTA)
    assert found.epsilon is not None
    assert found.epsilon > max(epsilon_pair(plan * 2, DELTA))
    assert not found.sampled_bound


def test_adaptive_shared_sums_of_sampled_users_are_bounded_and_said_to_be(tmp_path) -> None:
    plan = (Mechanism("dp-sgd", 3.0, 0.1, 4, 1.0, 2),)
    a, b = (open_ledger(tmp_path, name) for name in "ab")
    for shop in (a, b):
        shared_run(shop, plan=plan, planning="adaptive")
    found = compose_shops([a.chain, b.chain])
    fixed = a.chain.filter
    assert fixed is not None
    twice = [for_group(replace(plan[0], steps=1), 2)]
    expected = renyi_filter.epsilon_filter_check(twice, DELTA, fixed.order)
    assert found.epsilon == pytest.approx(expected, rel=1e-9)
    assert "coarse upper bound" in composition_text(found)


def test_adaptive_releases_with_shared_noise_pass_one_filter(tmp_path) -> None:
    a, b = (open_ledger(tmp_path, name) for name in "ab")
    for shop in (a, b):
        shared_run(shop, planning="adaptive")
    found = compose_shops([a.chain, b.chain])
    fixed = a.chain.filter
    assert fixed is not None
    one = replace(TOGETHER[0], steps=1)
    order, variance = fixed.order, (one.noise_multiplier / 2) ** 2
    divergence = order / (2 * variance)  # of one Gaussian sum with the person twice in it
    expected = divergence + renyi_filter.charge(order, DELTA)
    assert found.epsilon == pytest.approx(expected, rel=1e-9)
    assert found.delta == pytest.approx(DELTA * 1.5)
    assert found.accountant.endswith("Rényi filters, added")


def test_many_shops_with_shared_noise_are_beyond_the_accountants(tmp_path) -> None:
    plan = tuple(replace(m, shared_by=80) for m in PLAN)
    shops = [open_ledger(tmp_path, f"s{number}") for number in range(41)]
    for shop in shops:
        shared_run(shop, plan=plan)
    found = compose_shops([shop.chain for shop in shops])
    assert found.epsilon is None
    assert "protects nobody" in composition_text(found)


def test_a_person_with_several_ids_pays_mu_times_the_ids(tmp_path) -> None:
    ledger = open_ledger(tmp_path, "north")
    assert group_table(ledger.chain) == ()
    assert group_text(()) == ""
    full_run(ledger)
    table = group_table(ledger.chain)
    assert [row.ids for row in table] == [2, 3, 5]
    for row in table:
        expected = exact_gaussian(row.ids * math.sqrt(MU_SQUARED), DELTA)
        assert row.epsilon == pytest.approx(expected, abs=1e-4)
    shown = CliRunner().invoke(root, ["privacy", "report", str(tmp_path / "north.jsonl"), "--json"])
    (statement,) = json.loads(shown.output)["shops"]
    assert statement["people"] == [{"ids": row.ids, "epsilon": row.epsilon} for row in table]
    words = statement["nist_sp_800_226"]["a person with several ids"]
    assert f"epsilon {table[0].epsilon:.4g} with 2 ids" in words
    status = CliRunner().invoke(root, ["privacy", "status", str(tmp_path)]).output
    assert words in " ".join(status.split())
