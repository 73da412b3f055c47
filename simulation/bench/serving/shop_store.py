"""The group "store": what imports, a deletion and the reading for training take of a database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from client.store import changes
from client.store.database import sqlite_url
from client.store.store import Store
from simulation.bench.serving.synthetic_shop import ShopSize, write_large_shop
from simulation.reporting.benchmark_page import BenchmarkFigure
from simulation.reporting.terminal import PeakMemory

DELETIONS, NEW_SHARE = 20, 0.01
POSTGRESQL = "FEDPROFILE_BENCH_POSTGRESQL"
"""Environment variable that names an empty PostgreSQL database, to be measured as well."""
_NODE = (sys.executable, "-P", "-m", "shared", "node")
_READ = """
import sys, time, json
from client.deploy.store_data import read_store
from shared.protocol.invitation import PublicBase
n, url = int(sys.argv[1]), sys.argv[2]
base = PublicBase.model_construct(
    item_ids=tuple(f"i{i}" for i in range(n)), texts=("",) * n, time_unit="days")
PublicBase.catalogue = lambda self: None
def memory(line):
    # getrusage would tell the peak of the process that this one was forked from.
    return next(int(text.split()[1]) for text in open("/proc/self/status") if line in text)
before = memory("VmRSS")
begun = time.perf_counter()
events, users, report = read_store(url, base)
print(json.dumps([time.perf_counter() - begun, len(events),
    (memory("VmHWM") - before) * 1024 / 1e9]))
"""


def store_figures(size: ShopSize | None = None) -> list[BenchmarkFigure]:
    """Measures SQLite, and PostgreSQL where `POSTGRESQL` names a database.

    Args:
        size: Of the shop; None for the full one.
    """
    size = size or ShopSize()
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_large_shop(folder / "data", size, np.random.default_rng(0))
        urls = {"SQLite": sqlite_url(folder / "shop.db")}
        if url := os.environ.get(POSTGRESQL):
            urls["PostgreSQL"] = url
        for place, url in urls.items():
            figures += _figures(folder / "data", place, url, size)
    return figures


def _figures(data: Path, place: str, url: str, size: ShopSize) -> list[BenchmarkFigure]:
    whole = pq.read_table(data / "interactions.parquet")
    n = len(whole)
    first = whole.take(pa.array(_but(n, round(NEW_SHARE * n))))
    pq.write_table(first, data / "interactions.parquet")
    note = f"{len(first):,} events from Parquet, by `fedprofile node import`, {place}"
    seconds, gigabytes = _import(url, data)
    figures = [
        BenchmarkFigure(f"Import, {place}", seconds, 60, "s", note),
        BenchmarkFigure(f"Import, {place}: memory", gigabytes, 1.5, "GB", note),
    ]
    pq.write_table(whole, data / "interactions.parquet")
    seconds, _ = _import(url, data)
    note = f"the same with {NEW_SHARE:.0%} new rows, in the old order with the new among them"
    figures.append(BenchmarkFigure(f"Second import, {place}", seconds, 20, "s", note))
    command = [sys.executable, "-P", "-c", _READ, str(size.n_items), url]
    read = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    seconds, events, gigabytes = json.loads(read.stdout)
    note = f"{events:,} events by `read_store`, in batches"
    figures += [
        BenchmarkFigure(f"Training data, {place}", seconds, 15, "s", note),
        BenchmarkFigure(f"Training data, {place}: memory", gigabytes, 1.0, "GB", note),
        _deletion(url, place, size),
    ]
    return figures


def _but(n: int, n_new: int) -> list[int]:
    """Returns the places of all rows but some from all over."""
    new = np.random.default_rng(1).choice(n, n_new, replace=False)
    mask = np.ones(n, bool)
    mask[new] = False
    return np.flatnonzero(mask).tolist()


def _import(url: str, data: Path) -> tuple[float, float]:
    """Imports by the command; returns seconds and GB at most."""
    begun = time.perf_counter()
    command = [*_NODE, "import", "--store", url, "--data", str(data)]
    with _started(command) as process, PeakMemory(pid=process.pid) as memory:
        process.wait()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.perf_counter() - begun, memory.peak_mb / 1000


@contextmanager
def _started(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _deletion(url: str, place: str, size: ShopSize) -> BenchmarkFigure:
    store = Store(url)
    try:
        times = []
        for user in range(DELETIONS):
            begun = time.perf_counter()
            store.write(partial(changes.delete_user, user_id=str(user))).result()
            times.append(1000 * (time.perf_counter() - begun))
    finally:
        store.close()
    note = f"the middle of {DELETIONS} of {size.n_users:,} users, on the disk when it is done"
    return BenchmarkFigure(f"Deletion of a user, {place}", median(times), 50, "ms", note)
