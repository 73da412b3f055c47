"""A hundred nodes against one real server: does every update of every round arrive?"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from client.deploy.setup import make_node_key
from server.deploy.shops import invite
from simulation.bench.deployment.processes import Deployment, Watched
from simulation.bench.deployment.shops import CATALOGUE, write_shops
from simulation.bench.deployment.timing import spans
from simulation.bench.figures import Figure
from simulation.peak_memory import PeakMemory

NODES, ROUNDS, PROCESSES, ITEMS = 100, 10, 2, 300
SETTINGS = {
    "privacy.counts_share": 0.0,
    "privacy.pairs_share": 0.0,
    "privacy.adapter_share": 1.0,
    "federation.round_timeout": 300,
    "wait": 120,
}


def many_nodes(*, nodes: int = NODES, rounds: int = ROUNDS) -> Figure:
    """Measures rounds with stub trainers.

    Args:
        nodes: Of the federation.
        rounds: Of training.
    """
    shops = [f"shop{number:03d}" for number in range(nodes)]
    settings = {**SETTINGS, "training.rounds": rounds}
    with tempfile.TemporaryDirectory() as name, Deployment(Path(name), settings) as made:
        made.init_server(catalogue=_catalogue(made.root))
        made.start_server()
        _make_nodes(made, shops)
        started = time.monotonic()
        for part in range(PROCESSES):
            _start_nodes(made, shops[part::PROCESSES], name=f"nodes{part}")
        made.wait_online(nodes, seconds=240)
        joined = time.monotonic() - started
        with PeakMemory(pid=made.processes["server"].pid) as memory:
            made.run(seconds=1800)
        done = spans((made.server.logs / "server.jsonl").read_text().splitlines())
    good = sum(span.good for span in done)
    slowest = max(span.seconds for span in done)
    note = (
        f"{good} updates came; real server and run, TLS, {nodes} registered keys, connections and "
        f"heartbeats in {PROCESSES} processes (a hundred node processes do not fit the memory); "
        f"stub trainer, default adapter; all joined in {joined:.0f} s, slowest round "
        f"{slowest:.0f} s, server {memory.peak_mb:.0f} MB"
    )
    missing = float(nodes * rounds - good)
    return Figure(f"{nodes} nodes, {rounds} rounds: missing updates", missing, 0, "updates", note)


def _catalogue(root: Path) -> Path:
    """Writes the first items of the packaged catalogue: the stub needs none of the others."""
    whole, part = write_shops(root, ("all",), users=1), root / f"few-{CATALOGUE}"
    with whole.open(newline="") as source, part.open("w", newline="") as target:
        csv.writer(target).writerows(islice(csv.reader(source), ITEMS + 1))
    return part


def _make_nodes(made: Deployment, shops: list[str]) -> None:
    for shop in shops:
        key = make_node_key(made.node(shop))
        invite(made.server, shop, key=key, out=made.root / f"{shop}.invitation")
    (made.root / "address").write_text(f"127.0.0.1:{made.port}")
    (made.root / "authority.pem").write_bytes(made.server.authority.read_bytes())


def _start_nodes(made: Deployment, shops: list[str], *, name: str) -> None:
    module = "simulation.bench.deployment.stub_nodes"
    words = [sys.executable, "-m", module, str(made.root), *shops]
    made.processes[name] = Watched(words, folder=made.root, environment={"OMP_NUM_THREADS": "1"})
