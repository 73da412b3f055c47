"""Comes back after a crash: the server holds a dead node for connected until it misses heartbeats.

flwr 1.41 gives up at once then; here the node asks again for a while, and beats faster, so that the
server notices sooner. A key that the server does not know gets the same answer, so such a node ends
only after `PATIENCE`. Two processes with one key never are connected together.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import httpx
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse
from flwr.supercore import heartbeat
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.retry import constant
from flwr.supernode import fleet_http_connection as connection
from flwr.supernode.fleet_http_client import FleetHttpClient

from client.deploy.clock_check import REFUSALS
from client.deploy.kept_objects import KeptObjects
from client.deploy.metrics import PULSE
from shared.deploy.flower_parts import put

LOG = logging.getLogger("fedprofile.client")
BEAT = 10.0
"""Seconds between heartbeats, the least that Flower takes; after two missed ones a node is gone."""
AGAIN = 2.0
"""Seconds until a failed heartbeat is tried again; Flower waits up to 20, and is missed then."""
PATIENCE, PAUSE = 75.0, 3.0
"""Seconds to go on asking, and between two questions."""

OUTAGE = 1800.0
"""Seconds for which a server that answers 500 counts as one that may recover."""


class PatientClient(FleetHttpClient):
    """Asks again while the server believes that this node is connected."""

    kept = KeptObjects()
    """Of this process: Flower makes a new client for each connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._broken_since: dict[str, float] = {}

    def _unary_unary(self, **request: Any) -> Any:
        """Sends any request; keeps an answer that refuses the signature for the last line.

        A server that breaks on a request, as with a full disk, counts as unreachable for a while:
        Flower would end the heartbeat at the first such answer and throw the reply away.

        Raises:
            httpx.HTTPStatusError: The server refuses, or is broken for longer than `OUTAGE`.
            httpx.RemoteProtocolError: The server is broken; Flower asks again.
        """
        path, now = str(request["path"]), time.monotonic()
        try:
            answer = super()._unary_unary(**request)
        except httpx.HTTPStatusError as error:
            REFUSALS.note(error.response)
            broken = error.response.status_code == httpx.codes.INTERNAL_SERVER_ERROR
            if broken and now - self._broken_since.setdefault(path, now) < OUTAGE:
                raise httpx.RemoteProtocolError(f"{path}: the server is broken") from error
            raise
        self._broken_since.pop(path, None)
        return answer

    def ActivateNode(self, request: Any) -> Any:  # noqa: N802
        """Activates the node.

        Raises:
            httpx.HTTPStatusError: The key is unknown, or another process uses it.
        """
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return super().ActivateNode(request)
            except httpx.HTTPStatusError as error:
                said = FlowerError.from_json(error.response.text)
                busy = said is not None and said.code == ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED
                if not busy or time.monotonic() >= end:
                    raise
                LOG.warning(
                    "the server holds this node for connected or knows no such key; asking again"
                )
                time.sleep(PAUSE)

    def PullObject(self, request: PullObjectRequest) -> PullObjectResponse:  # noqa: N802
        """Pulls an object, or takes the one that is kept."""
        kept = self.kept.get(request.object_id)
        if kept is not None:
            return PullObjectResponse(object_found=True, object_available=True, object_content=kept)
        response = super().PullObject(request)
        if response.object_available:
            self.kept.put(request.object_id, response.object_content)
        return response

    def SendNodeHeartbeat(self, request: Any) -> Any:  # noqa: N802
        """Sends a heartbeat and notes that it was answered."""
        response = super().SendNodeHeartbeat(request)
        PULSE.beat()
        return response


def be_patient() -> None:
    """Makes the SuperNode of this process come back by itself."""
    put(connection, FleetHttpClient=PatientClient, HEARTBEAT_DEFAULT_INTERVAL=BEAT)
    put(heartbeat, HEARTBEAT_DEFAULT_INTERVAL=BEAT, exponential=lambda **_: constant(AGAIN))
