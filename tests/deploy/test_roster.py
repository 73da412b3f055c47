"""A roster between real processes: made, shown, accepted by each owner, and made anew."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from client.deploy.folder import NodeFolder
from client.deploy.roster import accept_roster, offered_roster
from client.deploy.roster import signed_roster as roster_of_node
from server.coordinator.folder import ServerFolder
from server.coordinator.roster import signed_roster as roster_of_server
from shared.secure_aggregation.roster_words import spoken
from simulation.bench.deployment.processes import wait_until
from tests.deploy.federations import WAIT, Federation

pytestmark = pytest.mark.slow


def make(federation: Federation, *words: object) -> str:
    done = federation.run("server", "roster", "make", "--dir", federation.server, *words)
    return done.stdout


def shown(federation: Federation, shop: str) -> dict[str, object]:
    done = federation.run("node", "roster", "show", "--dir", federation.node(shop), "--json")
    report: dict[str, object] = json.loads(done.stdout)
    return report


def accept_offered(federation: Federation, *shops: str) -> None:
    """Accepts as the command does, without a process for each."""
    for shop in shops:
        folder = NodeFolder(federation.node(shop))
        roster = offered_roster(folder)
        assert roster is not None, shop
        accept_roster(folder, roster.digest())


def held(federation: Federation) -> set[str]:
    """Fingerprints of the signed rosters, of the server and of all nodes."""
    rosters = [roster_of_server(ServerFolder(federation.server))]
    for shop in federation.shops:
        own = roster_of_node(NodeFolder(federation.node(shop)))
        assert own is not None, shop
        rosters.append(own)
    return {signed.check().digest() for signed in rosters}


def join(federation: Federation, shop: str) -> None:
    data = federation.root / shop / "data"
    data.mkdir(parents=True)
    table = pd.read_csv(federation.root / federation.shops[0] / "data" / "interactions.csv")
    table.to_csv(data / "interactions.csv", index=False)
    federation.init_node(shop)
    federation.start_node(shop)
    federation.shops = (*federation.shops, shop)
    wait_until(lambda: shop in federation.online(), seconds=WAIT, name=shop)


def test_all_owners_accept_one_roster_and_a_new_shop_makes_a_new_one(tmp_path: Path) -> None:
    federation = Federation(tmp_path)
    try:
        federation.build()
        offered = make(federation)
        assert offered.count("not accepted yet") == 3
        assert "shop0, shop1, shop2 compare the fingerprint with each other" in offered
        before = federation.budget("shop0")["budget_epsilon"]

        fingerprint = str(shown(federation, "shop0")["fingerprint"])
        assert spoken(fingerprint) in offered
        federation.run("node", "roster", "accept", fingerprint, "--dir", federation.node("shop0"))
        accept_offered(federation, "shop1")
        assert make(federation).count("not accepted yet") == 1
        assert roster_of_node(NodeFolder(federation.node("shop0"))) is None

        accept_offered(federation, "shop2")
        assert "next: nothing" in make(federation)
        (first,) = held(federation)
        assert first == fingerprint
        assert federation.budget("shop0")["budget_epsilon"] == before == 0

        join(federation, "shop3")
        assert make(federation).count("not accepted yet") == 4
        report = shown(federation, "shop0")
        assert report["state"] == "offered"
        changes = report["changes"]
        assert isinstance(changes, dict)
        assert changes["joined"] == ["shop3"]
        for shop in federation.shops[:3]:  # what was accepted stays until its owner accepts anew
            signed = roster_of_node(NodeFolder(federation.node(shop)))
            assert signed is not None
            assert signed.roster.digest() == first

        accept_offered(federation, *federation.shops)
        assert "next: nothing" in make(federation)
        (second,) = held(federation)
        assert second != first
    finally:
        federation.close()
