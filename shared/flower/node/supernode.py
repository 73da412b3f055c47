"""Runs Flower's SuperNode in this process: bundle allow-list, runtime interface, loop."""

from __future__ import annotations

import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from flwr.common.constant import ISOLATION_MODE_PROCESS
from flwr.supercore.exit import add_exit_handler
from flwr.supercore.fab import Fab
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supernode import start_client_internal as node_loop
from flwr.supernode.main import create_app
from flwr.supernode.nodestate import NodeStateFactory

from shared.errors import RunError
from shared.flower.bundle import bundle_hash
from shared.flower.node.connection import patch_connection
from shared.flower.node.executor import RequestExecutor
from shared.flower.patches import patch_attribute

LOG = logging.getLogger("fedprofile.client")
TRUSTED_ENTITIES = {"fedprofile": "allow-list"}
"""Makes Flower ask for the verification of every bundle."""
START_SECONDS = 30.0
"""Seconds for the runtime interface to come up."""


def serve_supernode(
    *,
    root: Path,
    shop: str,
    bundles: Collection[str],
    address: str,
    authority: bytes,
    key: EllipticCurvePrivateKey,
    answer: Callable[..., None],
    preload: str,
) -> None:
    """Starts runtime interface and executor, then polls the server in this thread.

    Args:
        root: The node's folder.
        shop: Public name.
        bundles: SHA-256 of the bundles that may be named.
        address: `host:port` of the server.
        authority: Certificate of the server's authority, PEM.
        key: Signs the node's requests.
        answer: Answers one request in a process of its own, see `RequestExecutor`.
        preload: Module that is imported once, before these processes are forked.

    Raises:
        RunError: The runtime interface did not start, or the installed Flower cannot be patched.
    """
    secret, local = secrets.token_bytes(32), f"127.0.0.1:{_free_port()}"
    state = NodeStateFactory(objectstore_factory=ObjectStoreFactory())
    start_runtime_api(state, local, secret)
    executor = RequestExecutor(local, secret, root, answer=answer, preload=preload)
    executor.start()
    add_exit_handler(executor.end)  # the last one added is called first: before the interface ends
    patch_connection()
    node_loop.start_client_internal(
        state_factory=state,
        server_address=address,
        node_config={"shop": shop},
        root_certificates=authority,
        insecure=False,
        authentication_keys=(key, key.public_key()),
        isolation=ISOLATION_MODE_PROCESS,
        runtime_api_address=local,
        trusted_entities=patch_bundle_check(bundles),
        superexec_auth_secret=secret,
        runtime_dependency_install=False,
    )


def patch_bundle_check(allowed: Collection[str]) -> dict[str, str]:
    """Lets the SuperNode of this process refuse all bundles but those on a list.

    Flower: 1.41 has no such list. Where `trusted_entities` are set, it looks for a mark that the
    SuperLink gives (`valid_license`), and then at signatures of Flower's own hub (`_verify_fab`).

    Here: the same place decides by the SHA-256 of the bundle's bytes. The SuperLink's mark is
    replaced, for whoever controls the SuperLink could set it.

    Guarantee: A bundle that is not on the list is answered by an error, before anything of it is
    stored or unpacked.

    Args:
        allowed: SHA-256 of the bundles that may be named.

    Returns:
        What `start_client_internal` takes as `trusted_entities`.

    Raises:
        RunError: The installed Flower has other names.
    """
    connect = node_loop._init_connection

    @contextmanager
    def connect_with_list(*args: Any, **options: Any) -> Iterator[Any]:
        with connect(*args, **options) as calls:
            node_id, receive, send, get_run, get_fab, *rest = calls

            def get_marked_fab(fab_hash: str, run_id: int) -> Fab:
                return mark_if_allowed(get_fab(fab_hash, run_id), allowed)

            yield (node_id, receive, send, get_run, get_marked_fab, *rest)

    patch_attribute(
        node_loop,
        _init_connection=connect_with_list,
        _verify_fab=lambda fab, _: bundle_hash(fab.content) in allowed,
    )
    return dict(TRUSTED_ENTITIES)


def mark_if_allowed(fab: Fab, allowed: Collection[str]) -> Fab:
    """Returns the bundle, marked for Flower where it is allowed and unmarked where it is not."""
    sha256 = bundle_hash(fab.content)
    if sha256 in allowed:
        return Fab(fab.hash_str, fab.content, {"valid_license": "allow-list"})
    LOG.error("bundle=%s is not on the allow-list; it was not unpacked", sha256)
    return Fab(fab.hash_str, fab.content, {})


def start_runtime_api(state: NodeStateFactory, address: str, secret: bytes) -> None:
    """Starts the interface from which processes take tasks, in a thread.

    Args:
        state: Shared with the SuperNode.
        address: `127.0.0.1:port`.
        secret: What a process must prove to know before it takes a task.

    Raises:
        RunError: It did not start.
    """
    host, _, port = address.rpartition(":")
    app = create_app(state_factory=state, superexec_auth_secret=secret)
    # Its line of a late end would follow the one that says why the node ended.
    config = uvicorn.Config(
        app=app, host=host, port=int(port), access_log=False, workers=1, log_level="warning"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="runtime-api", daemon=True)
    thread.start()
    end = time.monotonic() + START_SECONDS
    while thread.is_alive() and not server.started and time.monotonic() < end:
        time.sleep(0.05)
    if not server.started:
        raise RunError(
            "did not start", name="runtime interface", value=address, remedy="see the log above"
        )

    def stop() -> None:
        server.should_exit = True
        thread.join(timeout=5.0)

    add_exit_handler(stop)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
