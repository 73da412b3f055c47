"""What Prometheus reads of a node; no label says anything about users."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer

from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from client.deploy.adapters import Adapters
from client.deploy.folder import NodeFolder
from shared import messages
from shared.deploy import records
from shared.deploy.observing import observe
from shared.deploy.tally import Counted, Tally
from shared.errors import FedprofileError
from shared.privacy.ledger.shop_files import ShopFiles
from shared.privacy.ledger.status import Status, read_ledger, status

LOG = logging.getLogger("fedprofile.client")

REQUESTS = Counted("fedprofile_node_requests_total", "Requests answered, by phase.", ("phase",))
REFUSALS = Counted("fedprofile_node_refusals_total", "Requests refused, by code.", ("code",))
SECONDS = Counted("fedprofile_node_phase_seconds_total", "Wall time by phase.", ("phase",))
COUNTED = (REQUESTS, REFUSALS, SECONDS)
PHASES = {
    "train": "train",
    f"query.{messages.COUNTS_QUERY}": "counts",
    f"query.{messages.PAIRS_QUERY}": "pairs",
    f"query.{records.INSTALL_QUERY}": "install",
}
"""Phase by message type; the server may send others, which are `other`."""
SILENCE = 35.0
"""Seconds without an answered heartbeat after which a node counts as cut off."""


class Pulse:
    """When the server last answered a heartbeat."""

    def __init__(self) -> None:
        self._last: float | None = None

    def beat(self) -> None:
        """Notes an answer."""
        self._last = time.monotonic()

    def alive(self) -> bool:
        """Says whether the last answer is recent."""
        return self._last is not None and time.monotonic() - self._last < SILENCE


PULSE = Pulse()
"""Of this process's SuperNode."""


def measured(app: ClientAppCallable, folder: NodeFolder) -> ClientAppCallable:
    """Returns an app that counts and times every request.

    Args:
        app: Answers; it never raises, or its refusal would not be counted.
        folder: Keeps the counters.
    """
    tally = Tally(folder.tally)

    def run(message: Message, context: Context) -> Message:
        phase = PHASES.get(message.metadata.message_type, "other")
        started = time.perf_counter()
        with tally.timed(SECONDS, phase=phase):
            reply = app(message, context)
        LOG.info("%s answered after %.2f s", phase, time.perf_counter() - started)
        tally.add(REQUESTS, phase=phase)
        found = reply.content.config_records.get(messages.STATUS) if reply.has_content() else None
        if found is not None and "code" in found:
            tally.add(REFUSALS, code=str(found["code"]))
        return reply

    return run


class NodeCollector(Collector):
    """Reads the folder for each reader, so that a restart forgets nothing.

    Args:
        folder: The node's folder.
        pulse: Of its SuperNode.
    """

    def __init__(self, folder: NodeFolder, pulse: Pulse) -> None:
        self._folder, self._pulse = folder, pulse
        self._known: tuple[tuple[int, int], Status] | None = None

    def collect(self) -> Iterator[Metric]:
        """Yields all metrics; those of a ledger or a pointer that cannot be read are missing."""
        yield from Tally(self._folder.tally).metrics(COUNTED)
        yield _gauge("connected", "Whether the server answers heartbeats.", self._pulse.alive())
        yield from self._served()
        yield from self._account()

    def _served(self) -> Iterator[Metric]:
        try:
            number = Adapters(self._folder).pointer().current.get("adapter", 0)
        except (OSError, FedprofileError):
            return
        yield _gauge("adapter", "Number of the adapter in use; 0 for none.", number)

    def _account(self) -> Iterator[Metric]:
        try:
            budget = self._budget()
        except (OSError, FedprofileError):
            yield _gauge("ledger_verifies", "Whether the ledger can be read and verifies.", 0)
            return
        yield _gauge("ledger_verifies", "Whether the ledger can be read and verifies.", 1)
        name, text = "fedprofile_node_releases_total", "Releases committed in the ledger."
        yield CounterMetricFamily(name, text, value=budget.releases)
        for name, text, value in (
            ("epsilon_spent", "Epsilon of all that was reserved.", budget.epsilon),
            ("epsilon_left", "Lifetime epsilon less spent.", budget.remaining),
            ("epsilon_limit", "Lifetime epsilon.", budget.limit),
            ("delta", "Lifetime delta.", budget.delta),
            ("uncommitted", "Rounds that were spent and not released.", budget.uncommitted),
        ):
            yield _gauge(name, text, value)

    def _budget(self) -> Status:
        """Replays the ledger, again only where it changed."""
        path = ShopFiles.of(self._folder.ledgers, self._folder.settings().shop).ledger
        found = path.stat()
        mark = (found.st_mtime_ns, found.st_size)
        if self._known is None or self._known[0] != mark:
            chain, torn = read_ledger(path)
            self._known = mark, status(chain, now=datetime.now(UTC), torn=torn)
        return self._known[1]


def problem(pulse: Pulse) -> str | None:
    """Says why the node is not ready."""
    return None if pulse.alive() else "the server does not answer"


def observe_node(folder: NodeFolder, port: int) -> ThreadingHTTPServer:
    """Answers for a node, in the process of its SuperNode."""
    return observe(port, collector=NodeCollector(folder, PULSE), problem=lambda: problem(PULSE))


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"fedprofile_node_{name}", text, value=float(value))
