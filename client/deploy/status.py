"""How a node stands: its budget, its ledger, what is installed and what is served."""

from __future__ import annotations

import fcntl
from datetime import UTC, datetime
from typing import Any

from client.deploy.adapters import Adapters
from client.deploy.folder import NodeFolder
from shared.errors import FedprofileError
from shared.privacy.ledger.shop_files import ShopFiles
from shared.privacy.ledger.status import read_ledger, status


def node_status(folder: NodeFolder) -> dict[str, Any]:
    """Returns plain values; they stay on this machine.

    Raises:
        PrivacyError: The ledger does not verify.
    """
    settings = folder.settings()
    path = ShopFiles.of(folder.ledgers, settings.shop).ledger
    chain, torn = read_ledger(path)
    budget = status(chain, now=datetime.now(UTC), torn=torn)
    return {
        "shop": settings.shop,
        "server": folder.invitation().address,
        "process": "running" if is_running(folder) else "stopped",
        "budget": budget.to_json(),
        "countersigned": max(chain.countersigned, default=None),
        "current": Adapters(folder).pointer().current,
    }


def installed(folder: NodeFolder) -> list[dict[str, Any]]:
    """Lists the installed releases, each verified again."""
    adapters, found = Adapters(folder), []
    current = adapters.pointer().current
    for number in adapters.numbers():
        entry: dict[str, Any] = {"number": number, "current": number in current.values()}
        try:
            manifest, _ = adapters.read(number)
            fields = manifest.model_dump(mode="json", include={"kind", "run", "round", "created"})
            entry |= {**fields, "state": "verified"}
        except FedprofileError as error:
            entry |= {"kind": "?", "run": 0, "round": 0, "state": f"damaged: {error}"}
        found.append(entry)
    return found


def is_running(folder: NodeFolder) -> bool:
    """Says whether a process serves this folder."""
    path = folder.root / "node.lock"
    if not path.exists():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        fcntl.flock(file, fcntl.LOCK_UN)
    return False
