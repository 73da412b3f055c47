"""One request in a process of its own: the installed app answers, whatever bundle came with it.

Flower would unpack the server's bundle and import it. Here both steps are replaced: nothing of a
bundle is written to disk or imported. What is slow to import is imported once, in the process that
this one is forked from.
"""

from __future__ import annotations

import os
from pathlib import Path

import opacus  # noqa: F401  (imported before the fork)
import peft  # noqa: F401
from flwr.supernode.runtime import run_clientapp as flower

from client.deploy.deployed_app import make_deployed_app
from client.deploy.folder import NodeFolder
from shared.deploy.json_log import log_to


def answer(address: str, token: str, folder: Path, parent: int) -> None:
    """Answers one request and ends the process.

    Args:
        address: Of the node's own runtime interface, loopback.
        token: For this one task; reaches this process through a pipe, never a command line.
        folder: The node's folder.
        parent: Process that this one ends with.
    """
    os.umask(0o077)
    node = NodeFolder(folder)
    log = log_to(node.log)
    app = make_deployed_app(node, log=log)
    flower.install_from_fab = lambda *_, **__: None
    flower.get_load_client_app_fn = lambda *_, **__: lambda *_, **__: app
    flower.run_clientapp(
        runtime_api_address=address,
        token=token,
        insecure=True,
        parent_pid=parent,
        runtime_dependency_install=False,
    )
