"""The groups "deployment" and "many-nodes".

What a server and its nodes are measured for, and a hundred nodes against one real server.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from statistics import mean, median

from client.deploy.setup import make_node_key
from server.coordinator.invited_shops import invite_shop
from simulation.bench.deployment.processes import CATALOGUE, Deployment, LoggedProcess, write_shops
from simulation.bench.deployment.round_timing import spans
from simulation.bench.deployment.three_nodes import DOWN, USERS, DeploymentMeasurement, measure
from simulation.reporting.benchmark_page import BenchmarkFigure
from simulation.reporting.terminal import PeakMemory

NODES, ROUNDS, PROCESSES, ITEMS = 100, 10, 2, 300
SETTINGS = {
    "privacy.counts_share": 0.0,
    "privacy.pairs_share": 0.0,
    "privacy.adapter_share": 1.0,
    "federation.round_timeout": 300,
    "wait": 120,
}


def many_nodes(*, nodes: int = NODES, rounds: int = ROUNDS) -> BenchmarkFigure:
    """Measures rounds with stub trainers.

    Args:
        nodes: Of the federation.
        rounds: Of training.
    """
    shops = [f"shop{number:03d}" for number in range(nodes)]
    settings = {**SETTINGS, "training.rounds": rounds}
    with tempfile.TemporaryDirectory() as name, Deployment(Path(name), settings) as deployment:
        deployment.init_server(catalogue=few_items(deployment.root))
        deployment.start_server()
        _make_nodes(deployment, shops)
        started = time.monotonic()
        for part in range(PROCESSES):
            _start_nodes(deployment, shops[part::PROCESSES], name=f"nodes{part}")
        deployment.wait_online(nodes, seconds=240)
        joined = time.monotonic() - started
        with PeakMemory(pid=deployment.processes["server"].pid) as memory:
            deployment.run(seconds=1800)
        done = spans((deployment.server.logs / "server.jsonl").read_text().splitlines())
    good = sum(span.good for span in done)
    slowest = max(span.seconds for span in done)
    note = (
        f"{good} updates came; real server and run, TLS, {nodes} registered keys, connections and "
        f"heartbeats in {PROCESSES} processes (a hundred node processes do not fit the memory); "
        f"stub trainer, default adapter; all joined in {joined:.0f} s, slowest round "
        f"{slowest:.0f} s, server {memory.peak_mb:.0f} MB"
    )
    missing = float(nodes * rounds - good)
    return BenchmarkFigure(
        f"{nodes} nodes, {rounds} rounds: missing updates", missing, 0, "updates", note
    )


def few_items(root: Path) -> Path:
    """Writes the first items of the packaged catalogue: the stub needs none of the others."""
    whole, part = write_shops(root, ("all",), users=1), root / f"few-{CATALOGUE}"
    with whole.open(newline="") as source, part.open("w", newline="") as target:
        csv.writer(target).writerows(islice(csv.reader(source), ITEMS + 1))
    return part


def _make_nodes(deployment: Deployment, shops: list[str]) -> None:
    for shop in shops:
        key = make_node_key(deployment.node(shop))
        invite_shop(deployment.server, shop, key=key, out=deployment.root / f"{shop}.invitation")
    (deployment.root / "address").write_text(f"127.0.0.1:{deployment.port}")
    (deployment.root / "authority.pem").write_bytes(deployment.server.authority.read_bytes())


def _start_nodes(deployment: Deployment, shops: list[str], *, name: str) -> None:
    module = "simulation.bench.deployment.stub_nodes"
    words = [sys.executable, "-P", "-m", module, str(deployment.root), *shops]
    deployment.processes[name] = LoggedProcess(
        words, folder=deployment.root, environment={"OMP_NUM_THREADS": "1"}
    )


BACK_PAUSE = 20
"""Seconds: Flower's longest pause between two attempts to reach a server that is away."""


def deployment_figures() -> list[BenchmarkFigure]:
    """Measures three real nodes."""
    measurement = measure()
    return [*_time(measurement), *_traffic(measurement), *_memory_and_return(measurement)]


def many_nodes_figures() -> list[BenchmarkFigure]:
    """Measures a hundred nodes with stub trainers."""
    return [many_nodes()]


def _time(measurement: DeploymentMeasurement) -> list[BenchmarkFigure]:
    slowest = max(measurement.rounds, key=lambda parts: parts.wall)
    usual = median(parts.beside for parts in measurement.rounds)
    note = (
        f"slowest of {len(measurement.rounds)} rounds; of it {slowest.local:.1f} s are the last "
        f"node's own computation and {slowest.polling:.1f} s Flower's polling; the requests for "
        "counts and for pairs, with the encoding of the catalogue in one node, took "
        f"{measurement.first:.0f} s"
    )
    beside = (
        f"median of wall time less Flower's polling (it looks every 3 s, and fetches and sends "
        f"object by object), over the last node's computation; wall "
        f"{_each(parts.wall for parts in measurement.rounds)} s, computation "
        f"{_each(parts.local for parts in measurement.rounds)} s, polling "
        f"{_each(parts.polling for parts in measurement.rounds)} s; the rest is a process for each "
        "request and the server's looks"
    )
    what = f"a round of 3 nodes with {USERS} users"
    return [
        BenchmarkFigure(what, slowest.wall, 60, "s", note),
        BenchmarkFigure(f"{what}, beside its computation", usual, 1.3, "times", beside),
    ]


def _traffic(measurement: DeploymentMeasurement) -> list[BenchmarkFigure]:
    down = max((one.down for one in measurement.traffic.values()), key=sum)
    up = max((one.up for one in measurement.traffic.values()), key=sum)
    release = max(one.release for one in measurement.traffic.values())
    size = measurement.adapter_bytes
    counted = (
        f"a round, of {size / 1000:.1f} kB; mean of the rounds, node with most; TLS records "
        "through a TCP proxy, polling and heartbeats included"
    )
    first = f"{down[0] / 1000:.1f} kB; A, half of the adapter, comes with it and stays at the node"
    sent = (
        f"{mean(down) / 1000:.1f} kB {counted}; all releases at the end took "
        f"{release / 1000:.1f} kB more"
    )
    came = f"{mean(up) / 1000:.1f} kB {counted}; a node sends B alone, half of the adapter"
    return [
        BenchmarkFigure(
            "first bytes to a node, over the adapter's", down[0] / size, 1.1, "times", first
        ),
        BenchmarkFigure(
            "bytes to a node, over the adapter's", mean(down) / size, 1.1, "times", sent
        ),
        BenchmarkFigure(
            "bytes from a node, over the adapter's", mean(up) / size, 1.1, "times", came
        ),
    ]


def _memory_and_return(measurement: DeploymentMeasurement) -> list[BenchmarkFigure]:
    each = ", ".join(f"{megabytes:.0f}" for megabytes in measurement.memory_mb.values())
    memory = (
        f"proportional size of all its processes; {each} MB, the last one encoded the catalogue too"
    )
    back = (
        f"until heartbeat and poll of all three were answered, server killed and away for "
        f"{DOWN:.0f} s and its start; Flower pauses {BACK_PAUSE} s at most between attempts"
    )
    largest = max(measurement.memory_mb.values()) / 1000
    return [
        BenchmarkFigure("a node's memory while it trains", largest, 1.5, "GB", memory),
        BenchmarkFigure("nodes back after the server's return", measurement.back, 30, "s", back),
    ]


def _each(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)
