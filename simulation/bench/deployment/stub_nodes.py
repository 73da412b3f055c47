"""Many nodes in one process: `python -m simulation.bench.deployment.stub_nodes FOLDER SHOP...`.

A hundred node processes, over 0.35 GB each at rest, do not fit a small machine. Here each node is a
thread with its own key, connection and heartbeat, and takes and sends messages with Flower's own
code. The trainer is a stub, which answers with noise in the adapter's shape.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import ConfigRecord, Message, RecordDict

from client.deploy.folder import NodeFolder
from shared.flower.simulation.stub_node import patch_stub_nodes, serve_stub
from shared.keys.private_keys import open_key
from shared.privacy.noise import GRID
from shared.protocol import messages
from shared.protocol import messages as records
from shared.protocol.messages import Release, trainable_names


def reply(shop: str, request: Message, rng: np.random.Generator) -> RecordDict:
    """Answers as a node does, without training.

    Args:
        shop: Its name.
        request: To train, or to install a release.
        rng: Of the update, for no two updates may be the same.
    """
    status = ConfigRecord({"shop": shop})
    content = request.content
    if messages.ADAPTER not in content.array_records:
        manifest = content.config_records[records.RELEASE]["manifest"]
        number = int(json.loads(bytes(manifest))["number"])  # type: ignore[arg-type]
        return RecordDict(
            {records.INSTALLED: ConfigRecord({"number": number}), messages.STATUS: status}
        )
    adapter = messages.from_record(content.array_records[messages.ADAPTER])
    names = trainable_names(
        adapter, aggregation=str(content.config_records[messages.PLAN]["aggregation"])
    )
    release: Release = {name: rng.integers(-GRID, GRID, size=adapter[name].shape) for name in names}
    return RecordDict({messages.UPDATE: messages.release_record(release), messages.STATUS: status})


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
    shop = folder.root.parent.name
    rng = np.random.default_rng(list(shop.encode()))
    serve_stub(
        shop,
        key,
        address=address,
        authority=authority,
        answer=lambda request: reply(shop, request, rng),
    )


def serve_all(be_node: Callable[[NodeFolder, str, bytes], None], root: str, *shops: str) -> None:
    """Starts a thread a node and waits for ever, or until one of them fails.

    Args:
        be_node: Is one node until the process ends; takes its folder, the server's address and its
            authority's certificate.
        root: Holds `SHOP/node` of each shop, `address` and `authority.pem`.
        *shops: Names.
    """
    folder = Path(root)
    address, authority = (folder / "address").read_text(), (folder / "authority.pem").read_bytes()
    nodes = [NodeFolder(folder / shop / "node") for shop in shops]
    with ThreadPoolExecutor(len(nodes)) as pool:
        ends = [pool.submit(be_node, node, address, authority) for node in nodes]
        try:
            next(as_completed(ends)).result()
        except Exception:
            traceback.print_exc()
            os._exit(1)  # the other threads never end


if __name__ == "__main__":
    patch_stub_nodes()
    serve_all(serve, *sys.argv[1:])
