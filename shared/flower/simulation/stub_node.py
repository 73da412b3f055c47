"""A node without a process of its own: Flower's own code receives and sends in a thread.

For measurements of the server: a hundred node processes do not fit a small machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supernode import start_client_internal as flower
from flwr.supernode.nodestate import NodeStateFactory

from shared.flower.node.connection import ObjectCache, ReconnectingClient, patch_connection

POLL_SECONDS = 3.0
"""Seconds between two looks for a message, as Flower's SuperNode takes them."""


def patch_stub_nodes() -> None:
    """Makes the stub nodes of this process reconnect, and pull each object for themselves.

    The cache of objects belongs to a process, and the threads here are of many nodes: with it, one
    node alone would pull what a hundred nodes pull.
    """
    patch_connection()
    ReconnectingClient.cache = ObjectCache(max_bytes=0)


def serve_stub(
    shop: str,
    key: ec.EllipticCurvePrivateKey,
    *,
    address: str,
    authority: bytes,
    answer: Callable[[Message], RecordDict],
) -> None:
    """Is one node, until the process ends.

    Args:
        shop: Public name.
        key: Signs the node's requests.
        address: `host:port` of the server.
        authority: Certificate of the server's authority, PEM.
        answer: Returns the content of the reply to a request.
    """
    stores = ObjectStoreFactory()
    state, store = NodeStateFactory(objectstore_factory=stores).state(), stores.store()
    connect = flower._init_connection(address, False, authority, (key, key.public_key()))
    with connect as calls:
        node_id, receive, send, get_run, get_fab, pull_object, push_object, confirm = calls
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
                time.sleep(POLL_SECONDS)
                continue
            for request in _stored_requests(state, store):
                reply = Message(answer(request), reply_to=request)
                state.record_message_processing_end(request.metadata.message_id)
                flower._insert_message(reply, state, store)
            flower._push_messages(state, store, send, push_object)


def _stored_requests(state: Any, store: Any) -> list[Message]:
    """Takes the requests out of the node's stores."""
    requests = []
    for message in state.get_messages_legacy(is_reply=False):
        number = message.metadata.message_id
        state.record_message_processing_start(number)
        tree = store.get_object_tree(number)
        contents = {part.object_id: store.get(part.object_id) for part in iterate_object_tree(tree)}
        request = cast(Message, inflate_object_from_contents(number, contents))
        request.metadata.__dict__["_message_id"] = number
        store.delete(number)
        requests.append(request)
    return requests
