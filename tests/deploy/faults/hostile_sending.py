"""A node that hangs in the middle of sending a reply, so that it can be killed there."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from flwr.supernode.fleet_http_client import FleetHttpClient


def hold_in(folder: Path) -> None:
    """Hangs after the first part of the reply to the round that `hostile.json` names."""
    plan = json.loads((folder / "hostile.json").read_text())
    held = {number for number, act in plan.items() if act == "hold-sending"}
    push_message, push_object = FleetHttpClient.PushMessages, FleetHttpClient.PushObject
    sent = {"round": "", "parts": 0}

    def began(self: FleetHttpClient, request: Any) -> Any:
        sent["round"], sent["parts"] = request.messages_list[0].metadata.group_id, 0
        return push_message(self, request)

    def part(self: FleetHttpClient, request: Any) -> Any:
        if sent["round"] in held and sent["parts"] == 1:
            (folder / "sending").touch()
            time.sleep(3600)
        sent["parts"] = int(sent["parts"]) + 1
        return push_object(self, request)

    FleetHttpClient.PushMessages, FleetHttpClient.PushObject = began, part  # type: ignore[method-assign]  # no hook there
