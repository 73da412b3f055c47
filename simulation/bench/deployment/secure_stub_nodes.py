"""Many nodes with the whole protocol of secure aggregation and their own ledgers in one process.

`python -m simulation.bench.deployment.secure_stub_nodes FOLDER SHOP...`; see `stub_nodes`, whose
connections these have. What answers is the real ClientApp; what it releases is noise of a stub.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import ConfigRecord, Context, Message, RecordDict

from client.deploy.folder import NodeFolder
from client.federation.client_app import make_client_app
from client.federation.node_interface import NodeConfig
from client.federation.outgoing_releases import AccountedSource
from server.coordinator.folder import ServerFolder
from server.coordinator.roster import signed_roster
from shared.flower.simulation.stub_node import patch_stub_nodes, serve_stub
from shared.keys.private_keys import open_key
from shared.keys.signing import SigningKey
from shared.privacy.ledger.log.entries import LifetimeLimits
from shared.privacy.noise import GRID, Integers
from shared.protocol import messages
from shared.protocol.messages import Arrays, CodesArray, Plan, Release, trainable_names
from simulation.bench.deployment.stub_nodes import serve_all

LIMITS = LifetimeLimits(epsilon=40.0, delta=1e-6)


@dataclass(frozen=True)
class StubNode:
    """A shop that releases noise in the right shapes."""

    shop_id: str
    n_items: int

    def train(
        self,
        *,
        adapter: Arrays,
        plan: Plan,
        round: int,  # noqa: A002
        candidates: CodesArray,  # noqa: ARG002
    ) -> Release:
        """Returns noise in the adapter's shape."""
        rng = np.random.default_rng([round, *self.shop_id.encode()])
        names = trainable_names(adapter, aggregation=plan.aggregation)
        return {name: rng.integers(-GRID, GRID, size=adapter[name].shape) for name in names}

    def item_counts(self, *, plan: Plan) -> Integers:  # noqa: ARG002
        """Returns noise over the catalogue."""
        rng = np.random.default_rng([*self.shop_id.encode()])
        return rng.integers(-GRID, GRID, size=self.n_items)

    def pair_sums(self, *, plan: Plan, head: CodesArray) -> Integers:  # noqa: ARG002
        """Returns noise over the head."""
        return np.zeros(len(head) * (len(head) - 1) // 2, dtype=np.int64)


@dataclass(frozen=True)
class StubSource:
    """Opens a shop by the name that its node has."""

    n_items: int

    def open(self, node_config: NodeConfig) -> StubNode:
        """Opens it."""
        return StubNode(str(node_config["shop"]), self.n_items)


def source_of(root: Path, *, n_items: int = 0) -> AccountedSource:
    """Returns the shops with their ledgers, under the server's signed roster if there is one."""
    server = ServerFolder(root / "server")
    roster = signed_roster(server) if (server.roster / "roster.json").exists() else None
    return AccountedSource(
        StubSource(n_items), root / "ledgers", LIMITS, roster=roster, states=root / "sums"
    )


def stub_key(root: Path, shop: str) -> SigningKey:
    """Begins a shop's ledger and returns its key."""
    return source_of(root).ledger(shop).signing_key


def serve(folder: NodeFolder, address: str, authority: bytes) -> None:
    """Is one node, until the process ends.

    Args:
        folder: Holds the node's key; its parent's name is the shop.
        address: Of the server.
        authority: Certificate of the server's authority.
    """
    key = open_key(folder.key.read_bytes(), folder.key)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"key={folder.key} must be an ECDSA key")
    shop, root = folder.root.parent.name, folder.root.parent.parent
    base = json.loads(ServerFolder(root / "server").base.read_bytes())
    source = source_of(root, n_items=len(base["item_ids"]))
    app = make_client_app(source, sums=source)

    def answer(request: Message) -> RecordDict:
        if messages.RELEASE in request.content.config_records:
            manifest = request.content.config_records[messages.RELEASE]["manifest"]
            number = int(json.loads(bytes(manifest))["number"])  # type: ignore[arg-type]
            installed = ConfigRecord({"number": number})
            status = ConfigRecord({"shop": shop})
            return RecordDict({messages.INSTALLED: installed, messages.STATUS: status})
        if messages.ROSTER in request.content.config_records:
            return RecordDict({messages.STATUS: ConfigRecord({"shop": shop})})
        context = Context(
            run_id=request.metadata.run_id,
            node_id=0,
            node_config={"shop": shop},
            state=RecordDict(),
            run_config={},
        )
        return app(request, context).content

    serve_stub(shop, key, address=address, authority=authority, answer=answer)


if __name__ == "__main__":
    patch_stub_nodes()
    serve_all(serve, *sys.argv[1:])
