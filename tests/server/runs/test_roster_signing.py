"""`server roster make` against the real apps of nodes, in one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flwr.app import Context, Message

from client.deploy.folder import NodeFolder
from client.deploy.request_process import node_app
from client.deploy.roster import accept_roster, offered_roster
from client.deploy.roster import signed_roster as roster_of_node
from client.deploy.setup import init_node, make_node_key, new_node
from server.coordinator.folder import ServerFolder
from server.coordinator.invited_shops import InvitedShop, make_invitation
from server.coordinator.roster import RosterFiles, require_state, signed_roster
from server.runs import roster_signing
from server.runs.attempt import narrow_to_invited
from server.runs.roster_signing import collect_signatures
from shared.errors import ConfigError
from shared.flower.simulation.in_process import FIRST_NODE_ID, InProcessGrid
from shared.keys.signing import canonical
from shared.privacy.ledger.log.entries import LifetimeLimits
from tests.deploy.installing import Pair

SHOPS = ("shop0", "shop1", "shop2")


def make_node(server: ServerFolder, root: Path, shop: str) -> NodeFolder:
    folder, offer = NodeFolder(root), make_invitation(server, shop)
    make_node_key(root)
    limits = LifetimeLimits(epsilon=8.0, delta=1e-6, max_users=1_000)
    settings = new_node(
        data=server.root, order_column=None, limits=limits, encoder=None, invitation=offer
    )
    init_node(root, settings, offer)
    return folder


@pytest.fixture
def nodes(pair: Pair, tmp_path: Path) -> list[NodeFolder]:
    entries = [
        InvitedShop(shop=shop, node_id=FIRST_NODE_ID + i, key="PEM").model_dump(mode="json")
        for i, shop in enumerate(SHOPS)
    ]
    pair.server.shops.write_bytes(canonical(entries))
    return [make_node(pair.server, tmp_path / shop, shop) for shop in SHOPS]


@contextmanager
def connected(server: ServerFolder, nodes: list[NodeFolder]) -> Iterator[object]:
    """Connects nodes; each process of theirs is a call here."""
    apps = {FIRST_NODE_ID + i: node_app(node) for i, node in enumerate(nodes)}

    def app(message: Message, context: Context) -> Message:
        return apps[message.metadata.dst_node_id](message, context)

    with InProcessGrid(app, num_shops=len(nodes)) as grid:  # type: ignore[arg-type]
        yield narrow_to_invited(server, grid)  # type: ignore[arg-type]


def make(server: ServerFolder, nodes: list[NodeFolder]) -> None:
    with connected(server, nodes) as grid:
        collect_signatures(grid, server)  # type: ignore[arg-type]


def accept(node: NodeFolder) -> None:
    roster = offered_roster(node)
    assert roster is not None
    accept_roster(node, roster.digest())


def test_it_goes_on_where_it_was_until_all_nodes_hold_the_signed_roster(
    pair: Pair, nodes: list[NodeFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster_signing, "WAIT", 0.0)
    with pytest.raises(ConfigError, match="shops=shop1, shop2 have not told their keys"):
        make(pair.server, nodes[:1])
    make(pair.server, nodes)
    assert require_state(pair.server)["waiting"] == list(SHOPS)
    for node in nodes[:2]:
        accept(node)
    make(pair.server, nodes[:2])
    assert require_state(pair.server)["waiting"] == ["shop2"]
    accept(nodes[2])
    make(pair.server, nodes)
    assert require_state(pair.server)["unsent"] == []
    signed = signed_roster(pair.server)
    assert all(roster_of_node(node) == signed for node in nodes)


def test_a_node_that_was_away_gets_it_another_time(
    pair: Pair, nodes: list[NodeFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster_signing, "WAIT", 0.0)
    make(pair.server, nodes)
    for node in nodes:
        accept(node)
    make(pair.server, nodes)
    (nodes[2].roster / "signed.json").unlink()
    make(pair.server, nodes[:2])
    assert roster_of_node(nodes[2]) is None
    make(pair.server, nodes)
    assert roster_of_node(nodes[2]) == signed_roster(pair.server)


def test_the_shop_is_the_one_of_the_node_whatever_it_says(
    pair: Pair, nodes: list[NodeFolder]
) -> None:
    make(pair.server, [nodes[1], nodes[0], nodes[2]])  # two nodes under each other's names
    first, second = (RosterFiles(pair.server).keys()[shop] for shop in SHOPS[:2])
    make(pair.server, nodes)
    keys = RosterFiles(pair.server).keys()
    assert (keys["shop0"], keys["shop1"]) == (second, first)
