"""The group "serving-load": answers beside an empty route, idle connections and other work.

All are ratios of one run, measured by turns, so that a slow machine or a neighbour counts for both.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import psutil

from simulation.bench.deployment.processes import wait_until
from simulation.bench.serving.empty_server import empty_server
from simulation.bench.serving.figures import CLIENTS, wait_for_weights
from simulation.bench.serving.http_load import Load, ask, get
from simulation.bench.serving.idle_connections import idle_connections
from simulation.bench.serving.node_process import Node, import_seconds, running
from simulation.bench.serving.other_work import OtherWork, other_work
from simulation.bench.serving.synthetic_shop import ShopSize, write_large_shop, write_random_adapter
from simulation.reporting.benchmark_page import BenchmarkFigure

FOLDER = "FEDPROFILE_BENCH_SHOP"
"""Environment variable that names a folder in which the shop is kept for the next measurement."""
EVENTS = "FEDPROFILE_BENCH_EVENTS"
"""Environment variable with the number of events; users are a fiftieth, items stay."""
TURNS, SECONDS, BUSY_SECONDS, IDLE = 5, 1.5, 20.0, 3000


@dataclass(frozen=True)
class Bench:
    """A shop on the disk and what is asked of its node.

    Attributes:
        folder: Holds database, cache and adapter.
        size: Of the shop.
        requests: Recommendations for users of all kinds.
    """

    folder: Path
    size: ShopSize
    requests: Sequence[bytes]

    @contextmanager
    def node(self, *options: str) -> Iterator[Node]:
        """Starts the shop's node with its adapter, weights learned and everything read once."""
        with running(self.folder, "--adapter", str(self.folder / "adapter"), *options) as node:
            wait_for_weights(node)
            ask(node.port, self.requests, clients=CLIENTS, seconds=1.0)
            yield node


def serving_load_figures(size: ShopSize | None = None) -> list[BenchmarkFigure]:
    """Measures the answers of a shop's node beside what a server can do at all.

    Args:
        size: Of the shop; None for the full one, or as `EVENTS` says.
    """
    with _shop(size or _size()) as bench:
        with bench.node() as node, empty_server() as empty:
            figures = _beside_empty(bench, node, empty)
            figures += _with_idle(bench, node)
        with bench.node("--refresh-seconds", "2") as node:
            figures += _with_other_work(bench, node)
        figures += _with_readers(bench)
    return figures


def _size() -> ShopSize:
    events = int(os.environ.get(EVENTS, ShopSize.n_events))
    return ShopSize(n_events=events, n_users=max(events // 50, 100))


@contextmanager
def _shop(size: ShopSize) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(os.environ.get(FOLDER) or name)
        rng = np.random.default_rng(0)
        about = folder / "size.json"
        if about.exists():
            size = ShopSize(**json.loads(about.read_text()))
        else:
            write_large_shop(folder / "data", size, rng)
            import_seconds(folder)
            with running(folder):
                write_random_adapter(folder, rng)
            about.write_text(json.dumps(asdict(size)))
        users = rng.integers(0, size.n_users, 4000)
        yield Bench(folder, size, [get(f"/api/recommend/{user}") for user in users])


def _by_turns(first: Callable[[], float], second: Callable[[], float]) -> tuple[float, float]:
    """Measures two things by turns; gives the middle of each."""
    firsts, seconds = [], []
    for _ in range(TURNS):
        firsts.append(first())
        seconds.append(second())
    return median(firsts), median(seconds)


def _each(load: Load) -> float:
    return 1000 * load.seconds / len(load.milliseconds)


def _beside_empty(bench: Bench, node: Node, empty: int) -> list[BenchmarkFigure]:
    ask(empty, [get("/empty")], clients=CLIENTS, seconds=1.0)
    figures = []
    for clients, bound in ((1, 3), (CLIENTS, 4)):
        answer, route = _ours_and_bare(bench, node, empty, clients)
        name = f"Recommend beside an empty route, clients: {clients}"
        note = (
            f"{answer:.3f} ms against {route:.3f} ms a request, {_shape(bench)}; both servers, "
            "and the clients in one more process, share the machine"
        )
        figures.append(BenchmarkFigure(name, answer / route, bound, "times", note))
    return figures


def _with_idle(bench: Bench, node: Node) -> list[BenchmarkFigure]:
    def quiet() -> float:
        return _each(ask(node.port, bench.requests, clients=CLIENTS, seconds=SECONDS))

    def crowded() -> float:
        with idle_connections(node.port, IDLE):
            return quiet()

    alone, beside = _by_turns(quiet, crowded)
    note = f"{beside:.3f} ms against {alone:.3f} ms a request, {CLIENTS} clients"
    name = f"Recommend beside {IDLE:,} idle connections"
    return [BenchmarkFigure(name, beside / alone, 1.1, "times", note)]


def _with_other_work(bench: Bench, node: Node) -> list[BenchmarkFigure]:
    quiet = ask(node.port, bench.requests, clients=1, seconds=BUSY_SECONDS / 2)
    sizes = {"n_users": bench.size.n_users, "n_items": bench.size.n_items}
    with other_work(node.port, **sizes) as work:
        busy = ask(node.port, bench.requests, clients=1, seconds=BUSY_SECONDS)
    return busy_figures(quiet, busy, work)


def busy_figures(quiet: Load, busy: Load, work: OtherWork) -> list[BenchmarkFigure]:
    """Compares the slowest answers with and without other work; all failures are named."""
    calm, late = quiet.quantile(0.99), busy.quantile(0.99)
    note = (
        f"{late:.1f} ms against {calm:.1f} ms, one client; p50 {busy.quantile(0.5):.2f} against "
        f"{quiet.quantile(0.5):.2f} ms; meanwhile {work.imported:,} events in bulk, {work.swaps} "
        f"swaps, {len(work.similar_ms)} looks for similar users and a refresh every 2 s; "
        f"{quiet.failed + busy.failed + work.failed} failed"
    )
    similar = float(np.median(work.similar_ms))
    similar_note = f"median beside all of that, p99 {np.quantile(work.similar_ms, 0.99):.0f} ms"
    return [
        BenchmarkFigure("Recommend beside other work, p99", late / calm, 3, "times", note),
        BenchmarkFigure("Similar users beside other work", similar, 50, "ms", similar_note),
    ]


def _shape(bench: Bench) -> str:
    size = bench.size
    return f"{size.n_items:,} items, {size.n_users:,} users, {size.n_events:,} events"


def _with_readers(bench: Bench) -> list[BenchmarkFigure]:
    """Compares one process with two, and says what the second one takes of the memory."""
    with empty_server() as empty:
        with bench.node() as node:
            one, route = _ours_and_bare(bench, node, empty, CLIENTS)
            alone = _proportional(node.process)
        with bench.node("--workers", "2") as node:
            wait_until(lambda: len(_listening(node)) == 2, seconds=300, name="the reader")
            ask(node.port, bench.requests, clients=CLIENTS, seconds=1.0)
            two, route_then = _ours_and_bare(bench, node, empty, CLIENTS)
            both = _proportional(node.process)
    gain = (one / route) / (two / route_then)
    note = (
        f"{gain:.2f} times the answers: {two:.3f} ms a request against {one:.3f}, beside an empty "
        f"route's {route_then:.3f} and {route:.3f}; {CLIENTS} clients, whose own process takes a "
        f"part of the {os.cpu_count()} cores"
    )
    name = "Two processes, time of one process' answer"
    memory_note = f"{both:.0f} MB of all processes against {alone:.0f} MB of one; shared in parts"
    return [
        BenchmarkFigure(name, 1 / gain, round(1 / 1.7, 2), "times", note),
        BenchmarkFigure("Memory of a second process", both - alone, 300, "MB", memory_note),
    ]


def _ours_and_bare(bench: Bench, node: Node, empty: int, clients: int) -> tuple[float, float]:
    """Measures a recommendation and an empty route by turns, milliseconds a request."""
    nothing = [get("/empty")]
    return _by_turns(
        lambda: _each(ask(node.port, bench.requests, clients=clients, seconds=SECONDS)),
        lambda: _each(ask(empty, nothing, clients=clients, seconds=SECONDS)),
    )


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _listening(node: Node) -> list[psutil.Process]:
    """Returns the processes that take connections of a node's port."""
    return [
        one
        for one in _family(node.process)
        if any(
            socket.status == psutil.CONN_LISTEN and socket.laddr.port == node.port
            for socket in one.net_connections("tcp")
        )
    ]


def _proportional(process: psutil.Process) -> float:
    """Returns the memory of a process and its children in MB; a shared page counts once."""
    return sum(float(one.memory_full_info().pss) for one in _family(process)) / 1e6
