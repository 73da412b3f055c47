"""Which bundles may start the installed code: a list of hashes, checked on the bytes received.

flwr 1.41 has no such list; its check of signed bundles is the place where one fits, so two private
functions of the pinned version are replaced.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from flwr.supercore.fab import Fab
from flwr.supernode import start_client_internal as flower

from shared.deploy.bundle import bundle_hash
from shared.deploy.flower_parts import put

LOG = logging.getLogger("fedprofile.client")
GATE = {"fedprofile": "allow-list"}
"""Makes Flower ask for the verification of every bundle."""


def close_gate(allowed: Collection[str]) -> dict[str, str]:
    """Lets the SuperNode of this process refuse all other bundles.

    Args:
        allowed: SHA-256 of the bundles that may be named.

    Returns:
        What `start_client_internal` takes as `trusted_entities`.
    """
    connect = flower._init_connection

    @contextmanager
    def connected(*args: Any, **options: Any) -> Iterator[Any]:
        with connect(*args, **options) as found:
            node_id, receive, send, get_run, get_fab, *rest = found

            def gated(fab_hash: str, run_id: int) -> Fab:
                return marked(get_fab(fab_hash, run_id), allowed)

            yield (node_id, receive, send, get_run, gated, *rest)

    put(flower, _init_connection=connected)
    put(flower, _verify_fab=lambda fab, _: bundle_hash(fab.content) in allowed)
    return dict(GATE)


def marked(fab: Fab, allowed: Collection[str]) -> Fab:
    """Returns the bundle, marked for Flower where it is allowed and unmarked where it is not."""
    found = bundle_hash(fab.content)
    if found in allowed:
        return Fab(fab.hash_str, fab.content, {"valid_license": "allow-list"})
    LOG.error("bundle=%s is not on the allow-list; it was not unpacked", found)
    return Fab(fab.hash_str, fab.content, {})
