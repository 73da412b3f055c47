"""How a coordinator stands: is it up, which shops are connected, how did the runs end."""

from __future__ import annotations

from typing import Any

from server.deploy.control import control
from server.deploy.folder import ServerFolder
from server.deploy.invited_grid import last_receipt
from server.deploy.run_folder import runs
from server.deploy.shops import read_shops
from shared.deploy.certificates import days_left
from shared.errors import RunError


def server_status(folder: ServerFolder) -> dict[str, Any]:
    """Returns plain values.

    Raises:
        ConfigError: The folder is not a coordinator's, or not whole.
    """
    settings, invited = folder.settings(), read_shops(folder)
    try:
        with control(folder) as link:
            online, up = link.online(), "up"
    except RunError:
        online, up = set(), "down"
    shops = []
    for entry in invited.values():
        receipt = last_receipt(folder.receipts, entry.shop)
        shops.append(
            {
                "shop": entry.shop,
                "node": "connected" if entry.node_id in online else "not connected",
                "signed": None if receipt is None else receipt.entry,
            }
        )
    return {
        "name": settings.name,
        "address": settings.address,
        "server": up,
        "certificate_days": days_left(folder.certificate),
        "shops": shops,
        "runs": [run.state().model_dump(mode="json") for run in runs(folder)],
    }
