"""The process that is the SuperLink: limits, passphrase and metrics are put around Flower's own."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import uvicorn
from flwr.superlink.cli import flower_superlink

from server.deploy.body_limit import limit_bodies
from server.deploy.metrics import observe_server
from shared.deploy.flower_parts import put
from shared.privacy.key_lock import LONGEST

FAREWELL = 3.0
"""Seconds at the end for open connections to close; one whose node trains does not say goodbye."""


def main(root: str, metrics_port: int | None, passphrase_from: int | None) -> None:
    """Serves until stopped; Flower reads its options from the command line.

    Args:
        root: The coordinator's folder.
        metrics_port: Where metrics and health are answered on loopback; None for nowhere.
        passphrase_from: Inherited pipe with the passphrase of the TLS key.
    """
    limit_bodies()
    options: dict[str, Any] = {"timeout_graceful_shutdown": FAREWELL}
    if passphrase_from is not None:
        with os.fdopen(passphrase_from, "rb") as pipe:
            options["ssl_keyfile_password"] = pipe.read(LONGEST).decode()
    put(uvicorn, run=partial(uvicorn.run, **options))
    if metrics_port is not None:
        observe_server(root, metrics_port)
    flower_superlink()
