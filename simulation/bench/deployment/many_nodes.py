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
from simulation.bench.deployment.processes import Deployment, Watched, wait_until
from simulation.bench.deployment.shops import CATALOGUE, write_shops
from simulation.bench.deployment.timing import Span, spans
from simulation.bench.figures import Figure
from simulation.peak_memory import PeakMemory

NODES, ROUNDS, PROCESSES, ITEMS = 100, 10, 2, 300
SETTINGS = {
    "training.rounds": ROUNDS,
    "privacy.counts_share": 0.0,
    "privacy.pairs_share": 0.0,
    "privacy.adapter_share": 1.0,
    "federation.round_timeout": 300,
    "wait": 120,
}


def many_nodes() -> list[Figure]:
    """Measures ten rounds with stub trainers."""
    shops = [f"shop{number:03d}" for number in range(NODES)]
    with tempfile.TemporaryDirectory() as name, Deployment(Path(name), SETTINGS) as made:
        made.init_server(catalogue=_catalogue(made.root))
        made.start_server()
        _make_nodes(made, shops)
        started = time.monotonic()
        for part in range(PROCESSES):
            _start_nodes(made, shops[part::PROCESSES], name=f"nodes{part}")
        wait_until(lambda: len(made.online()) == NODES, seconds=240, name="connection of all nodes")
        joined = time.monotonic() - started
        with PeakMemory(pid=made.processes["server"].pid) as memory:
            made.run(seconds=900)
        rounds = spans((made.server.logs / "server.jsonl").read_text().splitlines())
    return [_figure(rounds, joined=joined, server_mb=memory.peak_mb)]


def _figure(rounds: list[Span], *, joined: float, server_mb: float) -> Figure:
    good = sum(span.good for span in rounds)
    slowest = max(span.seconds for span in rounds)
    note = (
        f"{good} updates came; real server and run, TLS, {NODES} registered keys, connections and "
        f"heartbeats in {PROCESSES} processes (a hundred node processes, over 0.35 GB each, do not "
        f"fit 24 GB); stub trainer, default adapter; all joined in {joined:.0f} s, slowest round "
        f"{slowest:.0f} s, server {server_mb:.0f} MB"
    )
    missing = float(NODES * ROUNDS - good)
    return Figure(f"{NODES} nodes, {ROUNDS} rounds: missing updates", missing, 0, "updates", note)


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
