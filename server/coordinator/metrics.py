"""What Prometheus reads of a coordinator; no label names a shop or anything about users."""

from __future__ import annotations

import json
import socket
import ssl
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from server.coordinator.folder import ServerFolder, reachable_host
from server.federation.federated_run import Refusal, RoundInfo
from shared.errors import FedprofileError
from shared.flower.reply_codes import RefusalCode
from shared.runtime.counters import CounterFile, CounterSpec
from shared.runtime.metrics_endpoint import serve_metrics

ROUNDS = CounterSpec("fedprofile_server_rounds_total", "Training rounds done.")
UPDATES = CounterSpec(
    "fedprofile_server_updates_total", "Replies that counted, by kind.", ("kind",)
)
REFUSED = CounterSpec(
    "fedprofile_server_updates_refused_total",
    "Replies that did not count, by kind and reason.",
    ("kind", "reason"),
)
SECONDS = CounterSpec("fedprofile_server_phase_seconds_total", "Wall time by phase.", ("phase",))
BYTES = CounterSpec(
    "fedprofile_server_bytes_total", "Bytes of arrays, down to shops and up.", ("direction",)
)
INSTALLS = CounterSpec(
    "fedprofile_server_installs_total", "Releases sent to shops, by outcome.", ("outcome",)
)
COUNTERS = (ROUNDS, UPDATES, REFUSED, SECONDS, BYTES, INSTALLS)
SHOP_CODES = frozenset(
    {"privacy", "plan", "data", "model", "config", "internal", "replayed", "ledger"}
)
"""Codes that shops and the connection give, besides the server's own."""
ANSWER_SECONDS = 3.0
"""Seconds for the SuperLink to answer."""


def reason_label(code: str) -> str:
    """Returns a code as a label; what a shop makes up is `other`, or labels could fill a disk."""
    return code if code in SHOP_CODES or code in set(RefusalCode) else "other"


@dataclass(frozen=True)
class RunMetrics:
    """Counts what a run does.

    Attributes:
        tally: The coordinator's counters.
    """

    tally: CounterFile

    def round(self, info: RoundInfo) -> None:
        """Counts a request to all shops that ended well."""
        if info.kind == "train":
            self.tally.add(ROUNDS)
        self.tally.add(UPDATES, info.good, kind=info.kind)
        self.tally.add(SECONDS, info.seconds, phase=info.kind)
        self.tally.add(BYTES, info.bytes_down, direction="down")
        self.tally.add(BYTES, info.bytes_up, direction="up")

    def refused(self, refusals: Iterable[Refusal]) -> None:
        """Counts replies that did not count, also those of a round that failed."""
        counts = Counter((refusal.kind, reason_label(refusal.code)) for refusal in refusals)
        for (kind, why), number in counts.items():
            self.tally.add(REFUSED, number, kind=kind, reason=why)

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Times a block."""
        return self.tally.timed(SECONDS, phase=name)

    def sent(self, outcomes: Iterable[str]) -> None:
        """Counts releases that were sent."""
        known = {"installed": "installed", "no answer": "no-answer"}
        counts = Counter(known.get(outcome, reason_label(outcome)) for outcome in outcomes)
        for outcome, number in counts.items():
            self.tally.add(INSTALLS, number, outcome=outcome)


@dataclass(frozen=True)
class ServerCollector(Collector):
    """Reads the folder for each reader, so that a restart forgets nothing.

    Attributes:
        folder: The coordinator's folder.
    """

    folder: ServerFolder

    def collect(self) -> Iterator[Metric]:
        """Yields all metrics."""
        yield from CounterFile(self.folder.tally).metrics(COUNTERS)
        up = float(readiness_problem(self.folder) is None)
        yield GaugeMetricFamily("fedprofile_server_up", "Whether the SuperLink answers.", value=up)
        refused = len(list(self.folder.receipts.glob("*.refused")))
        state = _last_run(self.folder.runs)
        failed = float(state.get("status") == "failed")
        for name, text, value in (
            ("run", "Number of the newest run; 0 before the first.", state.get("number", 0)),
            ("run_round", "Rounds of the newest run that are checkpointed.", state.get("round", 0)),
            ("run_failed", "Whether the newest run ended with an error.", failed),
            ("release", "Number of the newest release.", _last_release(self.folder.releases)),
            ("ledgers_refused", "Shops whose ledger went back and is not restored.", refused),
        ):
            yield GaugeMetricFamily(f"fedprofile_server_{name}", text, value=value)


def readiness_problem(folder: ServerFolder) -> str | None:
    """Says why the coordinator is not ready: no TLS with its own certificate, or None."""
    try:
        settings = folder.settings()
        host = reachable_host(settings.host)
        trusted = ssl.create_default_context(cafile=str(folder.authority))
        with (
            socket.create_connection((host, settings.port), timeout=ANSWER_SECONDS) as link,
            trusted.wrap_socket(link, server_hostname=host),
        ):
            return None
    except FedprofileError:
        return "server.toml cannot be used"
    except ssl.SSLCertVerificationError as error:
        return f"the certificate is not good: {error.verify_message}"
    except OSError as error:
        return f"the SuperLink does not answer ({type(error).__name__})"


def serve_server_metrics(root: str, port: int) -> ThreadingHTTPServer:
    """Answers for a coordinator, in the process that becomes its SuperLink."""
    folder = ServerFolder(Path(root))
    return serve_metrics(
        port, collector=ServerCollector(folder), problem=lambda: readiness_problem(folder)
    )


def _last_run(runs: Path) -> dict[str, Any]:
    """Reads the newest run's state as plain values; the model behind it would load torch."""
    states = sorted(runs.glob("[0-9]*/state.json"))
    try:
        state: dict[str, Any] = json.loads(states[-1].read_bytes())
    except (IndexError, OSError, ValueError):
        return {}
    return state


def _last_release(releases: Path) -> int:
    return max((int(p.parent.name) for p in releases.glob("[0-9]*/signature")), default=0)
