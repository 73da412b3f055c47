"""One request in a process of its own: the installed app answers, whatever bundle came with it.

Flower would unpack the server's bundle and import it. Here both steps are replaced: nothing of a
bundle is written to disk or imported. What is slow to import is imported once, in the process that
this one is forked from.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path

import opacus  # noqa: F401  (imported before the fork)
import peft  # noqa: F401
from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable
from flwr.supercore.inflatable.inflatable_utils import pull_and_inflate_object_from_tree
from flwr.supernode.runtime import run_clientapp as flower

from client.app import refusal
from client.deploy.deployed_app import make_deployed_app
from client.deploy.folder import NodeFolder
from client.deploy.metrics import measured
from client.node import shop_name
from shared.deploy.flower_parts import put
from shared.deploy.json_log import JsonFormatter, log_to
from shared.privacy.key_lock import LOCK

LOG = logging.getLogger("fedprofile.client")
AGAIN, LONGEST = 0.05, 1.0
"""Seconds until a part of the request that is not here yet is asked for again, at first and at the
longest. The request comes before its parts, and both from this machine: flwr 1.41 waits 1 to 10."""


def guarded(app: ClientAppCallable) -> ClientAppCallable:
    """Returns an app that never raises: Flower would send an exception's text to the server."""

    def run(message: Message, context: Context) -> Message:
        try:
            return app(message, context)
        except Exception as error:
            LOG.exception("request failed")
            return Message(refusal(shop_name(context.node_config), error), reply_to=message)

    return run


def answering(folder: NodeFolder, *, log: JsonFormatter | None = None) -> ClientAppCallable:
    """Returns the app of a node as requests reach it: it never raises, and counts each of them.

    Args:
        folder: The node's folder.
        log: Learns run and round of each request.
    """
    return measured(guarded(make_deployed_app(folder, log=log)), folder)


def answer(
    address: str, token: str, folder: Path, parent: int, passphrase: bytes | None = None
) -> None:
    """Answers one request and ends the process.

    Args:
        address: Of the node's own runtime interface, loopback.
        token: For this one task; reaches this process through a pipe, never a command line.
        folder: The node's folder.
        parent: Process that this one ends with.
        passphrase: Of the node's keys; comes through the same pipe.
    """
    os.umask(0o077)
    LOCK.set(passphrase)
    node = NodeFolder(folder)
    app = answering(node, log=log_to(node.log))
    put(flower, install_from_fab=lambda *_, **__: None)
    pull = partial(
        pull_and_inflate_object_from_tree,
        initial_backoff=AGAIN,
        backoff_cap=LONGEST,
        max_tries_per_object=None,
    )
    put(flower, pull_and_inflate_object_from_tree=pull)
    put(flower, get_load_client_app_fn=lambda *_, **__: lambda *_, **__: app)
    flower.run_clientapp(
        runtime_api_address=address,
        token=token,
        insecure=True,
        parent_pid=parent,
        runtime_dependency_install=False,
    )
