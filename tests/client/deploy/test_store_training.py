"""A node that trains from the shop's database: the same as from the folder, and at once without."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest
from click.testing import CliRunner

from client.cli import node as node_commands
from client.deploy.federated_model import OwnPairSumsFolder
from client.deploy.setup import move_to_store, new_node
from client.deploy.shop_data import ShopData, load_shop
from client.deploy.shop_source import DeployedShop
from client.federation.own_contribution import OwnPairSums
from client.store import changes as writing
from client.store.consent import set_consent, set_consent_default, set_retention
from client.store.imports.importing import ImportOptions
from client.store.schema import Event
from client.store.store import Store
from shared.errors import ConfigError, DataError
from shared.interactions.events import Events
from tests.deploy.installing import HEAD, Pair


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'shop.db'}"


def load(pair: Pair) -> ShopData:
    return load_shop(pair.node.settings(), pair.node.invitation().base)


def migrated(pair: Pair, url: str) -> ShopData:
    move_to_store(pair.node, url, ImportOptions(), say=print)
    return load(pair)


def assert_equal(one: Events, other: Events) -> None:
    for field in fields(Events):
        if field.name != "session":  # only which events share a visit counts
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def change(url: str, *changes) -> None:
    store = Store(url)
    for one in changes:
        store.write(one).result()
    store.close()


def test_the_database_is_trained_on_as_the_folder_was(pair: Pair, url: str) -> None:
    before = load(pair)
    after = migrated(pair, url)
    assert_equal(before.events, after.events)
    assert after.n_users == before.n_users
    assert (pair.node.settings().store, pair.node.settings().data) == (url, None)
    again = move_to_store(pair.node, url, ImportOptions(), say=print)
    assert again is None
    node = DeployedShop(pair.node).open({}).node
    assert_equal(node.events, before.events)  # type: ignore[attr-defined]


def test_who_is_deleted_or_refuses_is_not_trained_on_from_the_next_request_on(
    pair: Pair, url: str
) -> None:
    before = migrated(pair, url)
    change(
        url,
        lambda c: writing.delete_user(c, "u1"),
        lambda c: set_consent(c, "u2", False),
        lambda c: set_consent(c, "u3", True),
    )
    after = load(pair)
    assert after.n_users == before.n_users - 2
    assert after.report["dropped"]["no_consent"] > 0
    change(url, lambda c: set_consent_default(c, "opt-in"))
    only = load(pair)
    assert only.n_users == 1
    assert only.report["consent"]["allow"] == 1
    change(url, lambda c: writing.add_events(c, [Event("e", "u3", "i1", 1e6)]))
    assert len(load(pair).events) == len(only.events) + 1


def test_a_person_refuses_with_all_ids(pair: Pair, url: str) -> None:
    migrated(pair, url)
    change(
        url,
        lambda c: c.exec_driver_sql(
            "UPDATE users SET person_id = 'p' WHERE user_id IN ('u1', 'u2')"
        ),
    )
    linked = load(pair)
    assert linked.report["persons"] == linked.report["users"] - 1
    change(url, lambda c: set_consent(c, "u2", False))
    assert load(pair).n_users == linked.n_users - 1


def test_a_deletion_drops_the_sums_that_the_user_is_in(pair: Pair, url: str) -> None:
    migrated(pair, url)
    head, pairs = np.array(HEAD, np.int64), OwnPairSumsFolder(pair.node)
    DeployedShop(pair.node).open({})
    pairs.save("p" * 64, head, OwnPairSums.of(load(pair).events, head))
    DeployedShop(pair.node).open({})
    assert pairs.load("p" * 64, head) is not None
    change(url, lambda c: writing.delete_user(c, "u1"))
    DeployedShop(pair.node).open({})
    assert pairs.load("p" * 64, head) is None


def test_check_data_looks_at_the_database(pair: Pair, url: str) -> None:
    migrated(pair, url)
    change(url, lambda c: set_consent(c, "u2", False))
    command = ["check-data", "--dir", str(pair.node.root)]
    said = CliRunner().invoke(node_commands, command)
    assert said.exit_code == 0, said.output
    assert "training: 0 allow, 1 refuse" in said.output
    assert "of users who refuse training" in said.output
    report = json.loads(CliRunner().invoke(node_commands, [*command, "--json"]).output)
    assert report["consent"]["refuse"] == 1


def test_faults_of_the_database_are_lines(pair: Pair, url: str) -> None:
    limits = pair.node.settings().limits
    offer = pair.node.invitation()
    with pytest.raises(ConfigError, match="store"):
        new_node(order_column=None, limits=limits, encoder=None, invitation=offer)
    migrated(pair, url)
    change(url, lambda c: writing.put_fact(c, "time_unit", '"days"'))
    with pytest.raises(DataError, match="federation in order"):
        load(pair)
    change(url, lambda c: writing.put_fact(c, "time_unit", '"order"'))
    with pytest.raises(ConfigError, match="ranks"):
        change(url, lambda c: set_retention(c, 30.0))
