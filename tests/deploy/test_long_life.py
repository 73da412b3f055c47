"""Shops that join late, spend their budget, or break their data: the run goes on without them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from federations import Federation, refusals_of, wait_for

from server.deploy.folder import ServerFolder
from server.deploy.registry import Registry
from server.deploy.run_folder import Run

pytestmark = pytest.mark.slow


def test_late_join_spent_budget_and_broken_data(make_federation: Callable[..., Federation]) -> None:
    federation = make_federation()
    sets = {"training.rounds": 3, "nodes": 2, "federation.min_replies": 1}
    federation.write_data()
    federation.init_server(**sets)
    federation.start_server()
    for shop, epsilon in (("shop0", 40.0), ("shop1", 11.0), ("shop2", 40.0)):
        federation.init_node(shop, epsilon=epsilon)
    for shop in ("shop0", "shop1"):
        federation.start_node(shop)
    wait_for(lambda: len(federation.online()) == 2, seconds=90, name="two nodes")
    federation.run_rounds()
    folder = ServerFolder(federation.server)
    assert Registry(folder).newest()[-1].manifest.participants == ("shop0", "shop1")
    assert federation.current("shop2") == {}

    spent = federation.budget("shop0")["epsilon"]
    data = federation.root / "shop0" / "data" / "interactions.csv"
    data.write_text(data.read_text().replace("item_id", "sku", 1))  # columns changed
    federation.start_node("shop2")  # joins late
    wait_for(lambda: len(federation.online()) == 3, seconds=90, name="shop2")
    federation.run_rounds()
    refused = refusals_of(federation, 2)
    assert {(shop, code) for _, shop, code in refused} >= {("shop0", "data"), ("shop1", "privacy")}
    assert federation.budget("shop0")["epsilon"] == spent
    assert federation.budget("shop1")["epsilon"] <= 11.0
    assert Run(folder, 2).state().status == "finished"
    assert "shop2" in Registry(folder).newest()[-1].manifest.participants
    for shop in federation.shops:
        assert federation.current(shop) == {"counts": 3, "adapter": 4}
