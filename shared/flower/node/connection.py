"""The SuperNode's connection, patched: reconnects after a crash, and pulls no object twice."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from typing import Any

import httpx
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse
from flwr.supercore import heartbeat
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.inflatable.inflatable_object import get_object_id
from flwr.supercore.retry import constant
from flwr.supernode import fleet_http_connection
from flwr.supernode.fleet_http_client import FleetHttpClient

from shared.flower.node.link import SERVER_PULSE, SIGNATURE_REFUSALS
from shared.flower.patches import patch_attribute

LOG = logging.getLogger("fedprofile.client")
HEARTBEAT_SECONDS = 10.0
"""Seconds between heartbeats, the least that Flower takes; after two missed ones a node is gone."""
HEARTBEAT_RETRY_SECONDS = 2.0
"""Seconds until a failed heartbeat is tried again; Flower waits up to 20, and is missed then."""
ACTIVATION_SECONDS, ACTIVATION_PAUSE_SECONDS = 75.0, 3.0
"""Seconds to go on asking for activation, and between two requests."""
OUTAGE_SECONDS = 1800.0
"""Seconds for which a server that answers 500 counts as one that may recover."""
MIN_OBJECT_BYTES, MAX_CACHE_BYTES = 4_096, 64_000_000
"""Bytes of an object that is worth caching, and of all in the cache."""


class ObjectCache:
    """The objects that a node used last, in memory; safe to use from several threads.

    Flower names an object by the SHA-256 of its content. With a frozen `A`, half of the adapter is
    the same in every round, and need not be sent again.

    Args:
        max_bytes: Of all objects together.
    """

    def __init__(self, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._lock = threading.Lock()
        self._objects: OrderedDict[str, bytes] = OrderedDict()

    def get(self, object_id: str) -> bytes | None:
        """Returns the content of an object; None where it is not in the cache."""
        with self._lock:
            if object_id in self._objects:
                self._objects.move_to_end(object_id)
            return self._objects.get(object_id)

    def put(self, object_id: str, content: bytes) -> None:
        """Keeps an object, unless it is small or its content has another name."""
        fits = MIN_OBJECT_BYTES <= len(content) <= self._max_bytes
        # A server that sends other content under a known name must not change later rounds.
        if not fits or get_object_id(content) != object_id:
            return
        with self._lock:
            if object_id not in self._objects:
                self._objects[object_id] = content
                self._bytes += len(content)
            while self._bytes > self._max_bytes:
                _, oldest = self._objects.popitem(last=False)
                self._bytes -= len(oldest)


class ReconnectingClient(FleetHttpClient):
    """Asks again where flwr 1.41 gives up, and caches objects.

    The server holds a dead node for connected until it misses heartbeats, and refuses it until
    then; Flower ends at the first such answer. A key that the server does not know gets the same
    answer, so such a node ends only after `ACTIVATION_SECONDS`. Two processes with one key never
    are connected together.
    """

    cache = ObjectCache()
    """Of this process: Flower makes a new client for each connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._broken_since: dict[str, float] = {}

    def _unary_unary(self, **request: Any) -> Any:
        """Sends any request, and remembers an answer that refuses the signature.

        A server that breaks on a request, as with a full disk, counts as unreachable for a while:
        Flower would end the heartbeat at the first such answer and throw the reply away.

        Raises:
            httpx.HTTPStatusError: The server refuses, or is broken for longer than
            `OUTAGE_SECONDS`. httpx.RemoteProtocolError: The server is broken; Flower asks again.
        """
        path, now = str(request["path"]), time.monotonic()
        try:
            answer = super()._unary_unary(**request)
        except httpx.HTTPStatusError as error:
            SIGNATURE_REFUSALS.note(error.response)
            broken = error.response.status_code == httpx.codes.INTERNAL_SERVER_ERROR
            if broken and now - self._broken_since.setdefault(path, now) < OUTAGE_SECONDS:
                # `make_simple_http_retry_invoker` repeats transport errors, and no answer of 500.
                raise httpx.RemoteProtocolError(f"{path}: the server is broken") from error
            raise
        self._broken_since.pop(path, None)
        return answer

    def ActivateNode(self, request: Any) -> Any:  # noqa: N802
        """Activates the node.

        Raises:
            httpx.HTTPStatusError: The key is unknown, or another process uses it.
        """
        end = time.monotonic() + ACTIVATION_SECONDS
        while True:
            try:
                return super().ActivateNode(request)
            except httpx.HTTPStatusError as error:
                answer = FlowerError.from_json(error.response.text)
                busy = (
                    answer is not None and answer.code == ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED
                )
                if not busy or time.monotonic() >= end:
                    raise
                LOG.warning(
                    "the server holds this node for connected or knows no such key; asking again"
                )
                time.sleep(ACTIVATION_PAUSE_SECONDS)

    def PullObject(self, request: PullObjectRequest) -> PullObjectResponse:  # noqa: N802
        """Pulls an object, or takes it from the cache."""
        content = self.cache.get(request.object_id)
        if content is not None:
            return PullObjectResponse(
                object_found=True, object_available=True, object_content=content
            )
        response = super().PullObject(request)
        if response.object_available:
            self.cache.put(request.object_id, response.object_content)
        return response

    def SendNodeHeartbeat(self, request: Any) -> Any:  # noqa: N802
        """Sends a heartbeat and notes that it was answered."""
        response = super().SendNodeHeartbeat(request)
        SERVER_PULSE.beat()
        return response


def patch_connection() -> None:
    """Makes the SuperNode of this process come back by itself, and beat faster.

    Flower: `http_request_response` makes a `FleetHttpClient` that gives up at the first refused
    activation, and beats every 30 s. A failed heartbeat waits up to 20 s for the next one. The
    server takes a node for dead after two missed ones: a node that was killed and started again is
    refused for a minute, and two failed heartbeats lose a node that lives.

    Here: `ReconnectingClient`, every 10 s, and 2 s after a failed one. The interval stands in two
    modules, since both import the constant by name: the one tells the server, the other waits.

    Raises:
        RunError: The installed Flower has other names.
    """
    patch_attribute(
        fleet_http_connection,
        FleetHttpClient=ReconnectingClient,
        HEARTBEAT_DEFAULT_INTERVAL=HEARTBEAT_SECONDS,
    )
    patch_attribute(
        heartbeat,
        HEARTBEAT_DEFAULT_INTERVAL=HEARTBEAT_SECONDS,
        exponential=lambda **_: constant(HEARTBEAT_RETRY_SECONDS),
    )
