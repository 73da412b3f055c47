"""Many nodes in one process: `python -m simulation.bench.deployment.stub_nodes FOLDER SHOP...`.

A hundred node processes, over 0.35 GB each at rest, do not fit a small machine. Here each node is a
thread with its own key, connection and heartbeat, and takes and sends messages with Flower's own
code. The trainer is a stub, which answers with noise in the adapter's shape.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, cast

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supernode import start_client_internal as flower
from flwr.supernode.nodestate import NodeStateFactory

from client.deploy.activation import PatientClient, be_patient
from client.deploy.folder import NodeFolder
from client.deploy.kept_objects import KeptObjects
from shared import messages
from shared.deploy import records
from shared.messages import Arrays, to_record, trainable_names
from shared.privacy.key_lock import open_key

POLL = 3.0
"""Seconds between two looks for a message, as Flower's SuperNode takes them."""


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
    update: Arrays = {
        name: rng.normal(scale=1e-3, size=adapter[name].shape).astype(np.float32) for name in names
    }
    return RecordDict({messages.UPDATE: to_record(update), messages.STATUS: status})


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
    stores = ObjectStoreFactory()
    state, store = NodeStateFactory(objectstore_factory=stores).state(), stores.store()
    connect = flower._init_connection(address, False, authority, (key, key.public_key()))
    with connect as found:
        node_id, receive, send, get_run, get_fab, pull_object, push_object, confirm = found
        state.set_node_id(node_id)
        while True:
            run = flower._pull_and_store_message(
                state=state,
                object_store=store,
                node_config={"shop": shop},
                receive=receive,
                get_run=get_run,
                get_fab=get_fab,
                pull_object=pull_object,
                confirm_message_received=confirm,
                trusted_entities=None,
            )
            if run is None:
                time.sleep(POLL)
                continue
            for request in _requests(state, store):
                answer = Message(reply(shop, request, rng), reply_to=request)
                state.record_message_processing_end(request.metadata.message_id)
                flower._insert_message(answer, state, store)
            flower._push_messages(state, store, send, push_object)


def _requests(state: Any, store: Any) -> list[Message]:
    """Takes what came out of the node's stores."""
    found = []
    for message in state.get_messages_legacy(is_reply=False):
        number = message.metadata.message_id
        state.record_message_processing_start(number)
        tree = store.get_object_tree(number)
        contents = {part.object_id: store.get(part.object_id) for part in iterate_object_tree(tree)}
        whole = cast(Message, inflate_object_from_contents(number, contents))
        whole.metadata.__dict__["_message_id"] = number
        store.delete(number)
        found.append(whole)
    return found


def main(root: str, *shops: str) -> None:
    """Starts a thread a node and waits for ever, or until one of them fails.

    Args:
        root: Holds `SHOP/node` of each shop, `address` and `authority.pem`.
        *shops: Names.
    """
    be_patient()
    PatientClient.kept = KeptObjects(most=0)  # the threads are of many nodes; each pulls for itself
    folder = Path(root)
    address, authority = (folder / "address").read_text(), (folder / "authority.pem").read_bytes()
    nodes = [NodeFolder(folder / shop / "node") for shop in shops]
    with ThreadPoolExecutor(len(nodes)) as pool:
        ends = [pool.submit(serve, node, address, authority) for node in nodes]
        try:
            next(as_completed(ends)).result()
        except Exception:
            traceback.print_exc()
            os._exit(1)  # the other threads never end


if __name__ == "__main__":
    main(*sys.argv[1:])
