"""The node's own runtime interface on loopback, through which a request's process gets its task."""

from __future__ import annotations

import threading
import time

import uvicorn
from flwr.supercore.exit import add_exit_handler
from flwr.supernode.main import create_app
from flwr.supernode.nodestate import NodeStateFactory

from shared.errors import RunError

START_WAIT = 30.0
"""Seconds for the interface to come up."""


def start_runtime_api(state: NodeStateFactory, address: str, secret: bytes) -> None:
    """Starts the interface in a thread.

    Args:
        state: Shared with the SuperNode.
        address: `127.0.0.1:port`.
        secret: What a process must prove to know before it takes a task.

    Raises:
        RunError: It did not start.
    """
    host, _, port = address.rpartition(":")
    app = create_app(state_factory=state, superexec_auth_secret=secret)
    config = uvicorn.Config(app=app, host=host, port=int(port), access_log=False, workers=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="runtime-api", daemon=True)
    thread.start()
    end = time.monotonic() + START_WAIT
    while thread.is_alive() and not server.started and time.monotonic() < end:
        time.sleep(0.05)
    if not server.started:
        raise RunError(f"runtime interface={address} did not start; see the log above")

    def stop() -> None:
        server.should_exit = True
        thread.join(timeout=5.0)

    add_exit_handler(stop)
