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

from client.deploy.folder import NodeFolder
from client.deploy.installed_releases import InstalledReleases
from client.deploy.node_ledger import ledger_files, lost_line
from client.deploy.shop_data import read_report
from shared.errors import FedprofileError
from shared.flower.node.link import SERVER_PULSE, ServerPulse
from shared.privacy.ledger.reporting.status import BudgetStatus, budget_status, read_ledger
from shared.protocol import messages
from shared.runtime.counters import CounterFile, CounterSpec
from shared.runtime.metrics_endpoint import serve_metrics

LOG = logging.getLogger("fedprofile.client")

REQUESTS = CounterSpec("fedprofile_node_requests_total", "Requests answered, by phase.", ("phase",))
REFUSED_REQUESTS = CounterSpec(
    "fedprofile_node_refusals_total", "Requests refused, by code.", ("code",)
)
SECONDS = CounterSpec("fedprofile_node_phase_seconds_total", "Wall time by phase.", ("phase",))
COUNTED = (REQUESTS, REFUSED_REQUESTS, SECONDS)
PHASES = {
    "train": "train",
    f"query.{messages.COUNTS_QUERY}": "counts",
    f"query.{messages.PAIRS_QUERY}": "pairs",
    f"query.{messages.INSTALL_QUERY}": "install",
}
"""Phase by message type; the server may send others, which are `other`."""


def measured(app: ClientAppCallable, folder: NodeFolder) -> ClientAppCallable:
    """Returns an app that counts and times every request.

    Args:
        app: Answers; it never raises, or its refusal would not be counted.
        folder: Keeps the counters.
    """
    counters = CounterFile(folder.counters)

    def run(message: Message, context: Context) -> Message:
        phase = PHASES.get(message.metadata.message_type, "other")
        started = time.perf_counter()
        with counters.timed(SECONDS, phase=phase):
            reply = app(message, context)
        LOG.info("%s answered after %.2f s", phase, time.perf_counter() - started)
        counters.add(REQUESTS, phase=phase)
        status = reply.content.config_records.get(messages.STATUS) if reply.has_content() else None
        if status is not None and "code" in status:
            counters.add(REFUSED_REQUESTS, code=str(status["code"]))
        return reply

    return run


class NodeCollector(Collector):
    """Reads the folder for each reader, so that a restart forgets nothing.

    Args:
        folder: The node's folder.
        pulse: Of its SuperNode.
    """

    def __init__(self, folder: NodeFolder, pulse: ServerPulse) -> None:
        self._folder, self._pulse = folder, pulse
        self._replayed: tuple[tuple[int, int, bool], BudgetStatus] | None = None
        self._lost = False

    def collect(self) -> Iterator[Metric]:
        """Yields all metrics; those of a ledger or a pointer that cannot be read are missing."""
        yield from CounterFile(self._folder.counters).metrics(COUNTED)
        yield _gauge("connected", "Whether the server answers heartbeats.", self._pulse.alive())
        yield from self._served()
        yield from self._data()
        yield from self._account()

    def _served(self) -> Iterator[Metric]:
        try:
            number = InstalledReleases(self._folder).pointer().current.get("adapter", 0)
        except (OSError, FedprofileError):
            return
        yield _gauge("adapter", "Number of the adapter in use; 0 for none.", number)

    def _data(self) -> Iterator[Metric]:
        report = read_report(self._folder)
        if report is None:
            return
        text = "Malformed rows that were left out when the data were last read."
        yield _gauge("malformed_rows", text, report["dropped"].get("malformed", 0))
        try:
            max_users = self._folder.settings().limits.max_users
        except FedprofileError:
            return
        beyond = max_users is not None and report["users"] > max_users
        yield _gauge("beyond_max_users", "Whether the shop has more users than stated.", beyond)

    def _account(self) -> Iterator[Metric]:
        try:
            budget = self._budget()
        except (OSError, FedprofileError):
            yield _gauge("ledger_verifies", "Whether the ledger can be read and verifies.", 0)
            return
        yield _gauge("ledger_verifies", "Whether the ledger can be read and verifies.", 1)
        yield _gauge(
            "ledger_lost",
            "Whether the server signed lines that the ledger has lost: nothing is released.",
            self._lost,
        )
        name, text = "fedprofile_node_releases_total", "Releases committed in the ledger."
        yield CounterMetricFamily(name, text, value=budget.releases)
        for name, text, value in (
            ("epsilon_total", "Epsilon of all that was reserved, over renewals.", budget.epsilon),
            ("epsilon_spent", "Epsilon that counts against the limit.", budget.budget_epsilon),
            ("epsilon_left", "Limit less spent.", budget.remaining),
            ("epsilon_limit", "Epsilon allowed since the last renewal.", budget.limit),
            ("delta", "Lifetime delta.", budget.delta),
            ("uncommitted", "Rounds that were spent and not released.", budget.uncommitted),
        ):
            yield _gauge(name, text, value)

    def _budget(self) -> BudgetStatus:
        """Replays the ledger, again only where it changed."""
        files = ledger_files(self._folder)
        path, file = files.ledger, files.ledger.stat()
        mark = (file.st_mtime_ns, file.st_size, files.receipts.exists())
        if self._replayed is None or self._replayed[0] != mark:
            chain, torn = read_ledger(path)
            self._lost = lost_line(self._folder, chain) is not None
            self._replayed = mark, budget_status(chain, now=datetime.now(UTC), torn=torn)
        return self._replayed[1]


def not_ready_reason(pulse: ServerPulse) -> str | None:
    """Says why the node is not ready."""
    return None if pulse.alive() else "the server does not answer"


def observe_node(folder: NodeFolder, port: int) -> ThreadingHTTPServer:
    """Answers for a node, in the process of its SuperNode."""
    return serve_metrics(
        port,
        collector=NodeCollector(folder, SERVER_PULSE),
        problem=lambda: not_ready_reason(SERVER_PULSE),
    )


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"fedprofile_node_{name}", text, value=float(value))
