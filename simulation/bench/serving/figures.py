"""What a shop's node does with 20,000 items, 100,000 users and 5 million events in SQLite."""

from __future__ import annotations

import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from simulation.bench.deployment.processes import wait_until
from simulation.bench.serving.http_load import Load, ask, get, post
from simulation.bench.serving.node_process import Node, import_seconds, running
from simulation.bench.serving.recommend_call import call_figures
from simulation.bench.serving.synthetic_shop import ShopSize, write_large_shop, write_random_adapter
from simulation.reporting.benchmark_page import BenchmarkFigure
from simulation.reporting.terminal import PeakMemory

SECONDS = 8.0
"""For how long each load lasts."""
CLIENTS = 16
_BATCH = 100


def serving_figures(
    size: ShopSize | None = None, seconds: float = SECONDS
) -> list[BenchmarkFigure]:
    """Makes the shop, imports it, starts a node and asks it what its shop would.

    Args:
        size: Of the shop; None for the full one.
        seconds: For how long each load lasts.
    """
    size = size or ShopSize()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_large_shop(folder / "data", size, rng)
        imported = import_seconds(folder)
        with running(folder) as node:
            first = node.start_seconds
            adapter = write_random_adapter(folder, rng)
        with running(folder, "--adapter", str(adapter)) as node:
            wait_for_weights(node)
        with running(folder, "--adapter", str(adapter)) as node:
            with PeakMemory(pid=node.process.pid) as memory:
                figures = _loads(node, size, rng, seconds)
                figures += _writes(node, seconds)
                figures += _swap(node, folder, size, rng)
            figures += _process(node, first, memory.peak_mb / 1000)
        figures += call_figures(folder, rng)
    note = f"{size.n_events:,} events from Parquet, by `fedprofile node import`"
    return [BenchmarkFigure("Import", imported, 300, "s", note), *figures]


def wait_for_weights(node: Node) -> None:
    """Waits until the fusion weights of a first start are learned."""

    def learned() -> bool:
        return bool(node.get("/api/status")["weights"]["for-you"]["queries"])

    wait_until(learned, seconds=300, name="learning of the fusion weights")


def _loads(
    node: Node, size: ShopSize, rng: np.random.Generator, seconds: float
) -> list[BenchmarkFigure]:
    users = [get(f"/api/recommend/{u}") for u in rng.integers(0, size.n_users, 4000)]
    carts = [
        post("/api/session/recommend", {"items": [f"i{i}" for i in cart]})
        for cart in rng.integers(0, size.n_items, (4000, 5))
    ]
    words = [get(f"/api/search?q=fresh+tea+{n}") for n in range(4000)]
    figures = []
    for name, requests in (("Recommend", users), ("Session recommend", carts)):
        ask(node.port, requests, clients=1, seconds=1.0)
        figures += _alone(name, ask(node.port, requests, clients=1, seconds=seconds))
        figures += _together(name, ask(node.port, requests, clients=CLIENTS, seconds=seconds))
    ask(node.port, words[-1:], clients=1, seconds=1.0)
    searched = ask(node.port, words, clients=1, seconds=seconds)
    note = f"{len(searched.milliseconds)} different queries, each encoded; {_failed(searched)}"
    return [*figures, BenchmarkFigure("Search, p99", searched.quantile(0.99), 50, "ms", note)]


def _alone(name: str, load: Load) -> list[BenchmarkFigure]:
    note = f"one client, {len(load.milliseconds)} answers over HTTP; {_failed(load)}"
    return [
        BenchmarkFigure(f"{name}, p50", load.quantile(0.5), 3, "ms", note),
        BenchmarkFigure(f"{name}, p99", load.quantile(0.99), 10, "ms", note),
    ]


def _together(name: str, load: Load) -> list[BenchmarkFigure]:
    note = f"{load.per_second:.0f} requests a second in all; {_failed(load)}"
    title = f"{name}, {CLIENTS} clients"
    return [
        BenchmarkFigure(f"{title}, time a request", 1000 / load.per_second, 2, "ms", note),
        BenchmarkFigure(f"{title}, p99", load.quantile(0.99), 50, "ms", note),
    ]


def _failed(load: Load) -> str:
    return f"{load.failed} failed"


def _writes(node: Node, seconds: float) -> list[BenchmarkFigure]:
    """Stores batches one after another, then looks whether the last event is known."""
    until = time.perf_counter() + seconds
    begun, stored = time.perf_counter(), 0
    while time.perf_counter() < until:
        node.post("/api/feedback", [_event(f"bench-{n % 20}", f"i{n}") for n in range(_BATCH)])
        stored += _BATCH
    spent = time.perf_counter() - begun
    note = f"{stored / spent:.0f} events a second, batches of {_BATCH}, each on the disk"
    missed = 0
    for number in range(50):
        user = f"bench-new-{number}"
        node.post("/api/feedback", [_event(user, f"i{number}")])
        again = node.get(f"/api/recommend/{user}?surface=buy-again&n=1")["items"]
        missed += [one["item_id"] for one in again] != [f"i{number}"]
    return [
        BenchmarkFigure("Feedback, time an event", 1000 * spent / stored, 0.5, "ms", note),
        BenchmarkFigure(
            "Event not in the next answer", missed, 0, "of 50", "buy-again after one event"
        ),
    ]


def _event(user_id: str, item_id: str) -> dict[str, Any]:
    return {"event_id": uuid.uuid4().hex, "user_id": user_id, "item_id": item_id}


def _swap(
    node: Node, folder: Path, size: ShopSize, rng: np.random.Generator
) -> list[BenchmarkFigure]:
    """Replaces the adapter while clients ask."""
    users = [get(f"/api/recommend/{u}") for u in rng.integers(0, size.n_users, 2000)]
    write_random_adapter(folder, rng)
    begun = time.perf_counter()
    spent: list[float] = []

    def swap() -> None:
        node.post("/api/adapter/reload", {})
        spent.append(time.perf_counter() - begun)

    thread = threading.Thread(target=swap)
    thread.start()
    failed = answers = 0
    while thread.is_alive():
        load = ask(node.port, users, clients=4, seconds=1.0)
        failed, answers = failed + load.failed, answers + len(load.milliseconds)
    thread.join()
    state = node.get("/api/status")["next_adapter"]["state"]
    note = f"{answers} answers meanwhile; {state} after {spent[0] if spent else 0:.0f} s"
    wrong = failed + (state != "in place")
    return [BenchmarkFigure("Adapter swap, failed requests", wrong, 0, "of 4 clients", note)]


def _process(node: Node, first: float, memory_gb: float) -> list[BenchmarkFigure]:
    note = f"warm cache; the very first, which encodes all items, {first:.0f} s"
    return [
        BenchmarkFigure(
            "Memory of the node", memory_gb, 2, "GB", "largest, all of the above included"
        ),
        BenchmarkFigure("Cold start of the process", node.start_seconds, 10, "s", note),
    ]
