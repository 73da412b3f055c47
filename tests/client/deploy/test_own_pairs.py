"""A node's own part of the pairs that it gave: kept for its own service alone."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from client.deploy.federated_model import FederatedModel, OwnPairSumsFolder, load_federated_model
from client.deploy.shop_source import DeployedShop
from client.federation.own_contribution import OwnPairSums
from shared.protocol.messages import Plan
from shared.releases.pair_sums import n_pairs, pair_sums, user_sizes
from tests.client.federation.test_shop_node import plan as plan_of
from tests.deploy.installing import HEAD, Pair

CODES = np.array(HEAD, np.int64)


def answered(pair: Pair, plan: Plan) -> OwnPairSums:
    """Lets the node answer a request for pairs and returns what it put in."""
    node = DeployedShop(pair.node).open({}).node
    noisy = node.pair_sums(plan=plan, head=CODES)
    events = node.events  # type: ignore[attr-defined]
    own = OwnPairSums(pair_sums(events, CODES), user_sizes(events, CODES))
    assert own.sums.any()
    assert not np.allclose(noisy, own.sums, atol=1e-3)  # the noise is not in what is kept
    return own


def installed(pair: Pair, plan: Plan, run: int = 1) -> FederatedModel:
    pairs = pair.pairs(plan=plan.digest(), run=run)
    for release in (pairs, pair.release(run=run, parents=(pairs.manifest.number,))):
        pair.install(release)
    return load_federated_model(pair.node)


@pytest.fixture
def plan() -> Plan:
    return plan_of(pairs_noise_multiplier=2.0, head_items=40)


def test_the_part_that_was_given_is_served_after_the_data_have_changed(
    pair: Pair, plan: Plan
) -> None:
    own = answered(pair, plan)
    data = pair.node.root.parent / "all" / "data" / "interactions.csv"
    with data.open("a") as file:
        file.writelines(f"u{user},i{item},99,shop0\n" for user in range(9) for item in HEAD)
    found = installed(pair, plan).own_contribution
    assert found is not None
    np.testing.assert_allclose(found.sums, own.sums, rtol=1e-6)
    np.testing.assert_array_equal(found.sizes, own.sizes)
    assert not np.allclose(found.sums, answered(pair, plan).sums, atol=1e-2)


def test_it_is_for_the_owner_alone(pair: Pair, plan: Plan) -> None:
    answered(pair, plan)
    (file,) = pair.node.own_pairs.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert pair.node.own_pairs.stat().st_mode & 0o777 == 0o700
    file.chmod(0o644)
    assert installed(pair, plan).own_contribution is None


def test_a_release_of_another_plan_or_head_does_without(pair: Pair, plan: Plan) -> None:
    answered(pair, plan)
    served = installed(pair, plan.model_copy(update={"seed": 2}))
    assert served.includes_own
    assert served.own_contribution is None
    saved = OwnPairSumsFolder(pair.node)
    assert saved.load(plan.digest(), CODES) is not None
    assert saved.load(plan.digest(), CODES[:-1]) is None
    apart = pair.pairs(plan=plan.digest(), run=2, participants=("south",))
    for release in (apart, pair.release(run=2, parents=(apart.manifest.number,))):
        pair.install(release)
    found = load_federated_model(pair.node)
    assert found.releases["pairs"] == apart.manifest.number
    assert found.own_contribution is None


def test_a_damaged_file_is_not_used(pair: Pair, plan: Plan) -> None:
    answered(pair, plan)
    (file,) = pair.node.own_pairs.iterdir()
    file.write_bytes(file.read_bytes()[:-2])
    assert installed(pair, plan).own_contribution is None


def test_only_the_newest_stay_and_a_disk_that_refuses_keeps_no_release_from_leaving(
    pair: Pair, plan: Plan, caplog: pytest.LogCaptureFixture
) -> None:
    saved = OwnPairSumsFolder(pair.node)
    part = OwnPairSums(np.ones(n_pairs(4)), np.ones(3, np.int64))
    keep = pair.node.settings().keep
    names = [f"{number:064x}"[::-1] for number in range(keep + 2)]
    for place, name in enumerate(names):
        saved.save(name, CODES, part)
        for file in pair.node.own_pairs.glob(f"{name[:16]}*"):
            os.utime(file, (place, place))
    assert [saved.load(name, CODES) is not None for name in names] == [False] * 2 + [True] * keep
    shutil.rmtree(pair.node.own_pairs)
    pair.node.own_pairs.write_text("in the way")
    assert len(DeployedShop(pair.node).open({}).node.pair_sums(plan=plan, head=CODES)) == n_pairs(4)
    assert "own pairs not saved" in caplog.text
    assert saved.load(plan.digest(), CODES) is None
