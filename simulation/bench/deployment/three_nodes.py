"""Three real nodes of 300 users: time, bytes and memory of a round, and the way back after a crash.

The public catalogue is the packaged one, 7,202 items, so that the embedded encoder has real work.
Two nodes have encoded it before; the third does it in its first request, as a new node does.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from safetensors.numpy import load

from client.deploy.folder import NodeFolder
from server.runs.releases import ReleaseRegistry
from simulation.bench.deployment.counting_proxy import CountingProxy
from simulation.bench.deployment.processes import Deployment, wait_until, write_shops
from simulation.bench.deployment.round_timing import RoundParts, Span, answers, parts, spans
from simulation.reporting.terminal import PeakMemory

SHOPS, USERS = ("shop1", "shop2", "shop3"), 300
SETTINGS = {
    "training.rounds": 4,
    "federation.min_replies": len(SHOPS),
    "wait": 120,
}
DOWN = 35.0
"""Seconds that the server is away: long enough for Flower's longest pause between attempts."""


@dataclass(frozen=True)
class RoundTraffic:
    """Bytes of one node on the wire: TLS records, without the headers of TCP and IP.

    Attributes:
        up: From the node, in each training round.
        down: To the node, in each training round.
        release: To the node, while releases were sent to it.
    """

    up: tuple[int, ...]
    down: tuple[int, ...]
    release: int


@dataclass(frozen=True)
class DeploymentMeasurement:
    """What three nodes did.

    Attributes:
        rounds: Of training.
        first: Seconds of the requests for counts and pairs, with the encoding of the catalogue in
            one node.
        traffic: By shop.
        adapter_bytes: Of the global adapter's float32 matrices.
        memory_mb: Largest proportional resident size of each node.
        back: Seconds from the server's return until all nodes were back.
    """

    rounds: tuple[RoundParts, ...]
    first: float
    traffic: dict[str, RoundTraffic]
    adapter_bytes: int
    memory_mb: dict[str, float]
    back: float


def measure() -> DeploymentMeasurement:
    """Does a run, then kills the server and starts it again."""
    with tempfile.TemporaryDirectory() as name, _nodes(Path(name)) as (deployment, proxies):
        with ExitStack() as stack:
            memory = {
                shop: stack.enter_context(PeakMemory(pid=deployment.processes[shop].pid))
                for shop in SHOPS
            }
            deployment.run(seconds=900)
        ended = time.time()
        rounds = spans((deployment.server.logs / "server.jsonl").read_text().splitlines())
        train = [span for span in rounds if span.number > 0]
        return DeploymentMeasurement(
            rounds=tuple(_parts(deployment, train)),
            first=sum(span.seconds for span in rounds if span.number == 0),
            traffic={s: _traffic(proxies[s], train, ended=ended) for s in SHOPS},
            adapter_bytes=_size(deployment),
            memory_mb={shop: memory[shop].peak_mb for shop in SHOPS},
            back=_seconds_back(deployment, proxies),
        )


@contextmanager
def _nodes(root: Path) -> Iterator[tuple[Deployment, dict[str, CountingProxy]]]:
    """Starts the server and three nodes, each behind a proxy of its own."""
    catalogue = write_shops(root, SHOPS, users=USERS)
    with Deployment(root, SETTINGS) as deployment, ExitStack() as stack:
        with patch.dict(os.environ, {"FEDPROFILE_CACHE": str(deployment.cache)}):
            deployment.init_server(catalogue=catalogue)
        deployment.start_server()
        proxies = {shop: stack.enter_context(CountingProxy(deployment.port)) for shop in SHOPS}
        for shop in SHOPS:
            deployment.init_node(shop, port=proxies[shop].port)
            if shop != SHOPS[-1]:
                cache = NodeFolder(deployment.node(shop)).cache
                shutil.copytree(deployment.cache, cache, dirs_exist_ok=True)
            deployment.start_node(shop)
        wait_until(
            lambda: deployment.online() == set(SHOPS), seconds=180, name="connection of the nodes"
        )
        yield deployment, proxies


def _parts(deployment: Deployment, train: list[Span]) -> Iterator[RoundParts]:
    replies = []
    for shop in SHOPS:
        log = NodeFolder(deployment.node(shop)).log.read_text().splitlines()
        replies.append(answers(deployment.processes[shop].lines, log))
    for span, *one in zip(train, *replies, strict=True):
        yield parts(span, one)


def _traffic(proxy: CountingProxy, train: list[Span], *, ended: float) -> RoundTraffic:
    passed = [proxy.between(span.start, span.end) for span in train]
    return RoundTraffic(
        up=tuple(up for up, _ in passed),
        down=tuple(down for _, down in passed),
        release=proxy.between(train[-1].end, ended)[1],
    )


def _size(deployment: Deployment) -> int:
    arrays = load(ReleaseRegistry(deployment.server).newest()[-1].file)
    return sum(array.nbytes for array in arrays.values())


def _seconds_back(deployment: Deployment, proxies: dict[str, CountingProxy]) -> float:
    """Kills the server, starts it after a while, and waits until all nodes are back.

    A node is back when its heartbeat and its poll for messages were answered.
    """
    known = {shop: len(deployment.processes[shop].lines) for shop in SHOPS}
    deployment.processes["server"].kill()
    for proxy in proxies.values():
        proxy.cut()
    time.sleep(DOWN)
    deployment.start_server()
    for proxy in proxies.values():
        proxy.mend()
    returned = time.time()

    def is_back(shop: str) -> bool:
        new = deployment.processes[shop].lines[known[shop] :]
        return any("Connection successful after" in text for _, text in new)

    wait_until(
        lambda: all(map(is_back, SHOPS)) and deployment.online() == set(SHOPS),
        seconds=120,
        name="return of the nodes",
    )
    return time.time() - returned
