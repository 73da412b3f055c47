"""What a node does beside its answers, asked for by a process of its own while those are timed.

`python -m simulation.bench.serving.other_work PORT USERS ITEMS` imports in bulk, replaces the
adapter and looks for users of like taste until its input ends; then it prints what it did.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import click
import numpy as np

from simulation.bench.serving.http_load import KEY

_LINES = 20_000
_KEY = "FEDPROFILE_API_KEY"
_PAUSE = 0.1
"""Seconds between two looks for users of like taste."""


@dataclass
class OtherWork:
    """What was done.

    Attributes:
        imported: Events stored.
        swaps: Adapters put in place.
        similar_ms: Time of each look for users of like taste, milliseconds.
        failed: Answers that were no success.
    """

    imported: int = 0
    swaps: int = 0
    similar_ms: list[float] = field(default_factory=list)
    failed: int = 0


@contextmanager
def other_work(port: int, *, n_users: int, n_items: int) -> Iterator[OtherWork]:
    """Keeps a node busy while the block runs; what was done is known at its end.

    Args:
        port: Of the node.
        n_users: Customers of the shop.
        n_items: Its items.
    """
    done = OtherWork()
    command = [sys.executable, "-m", "simulation.bench.serving.other_work"]
    numbers = [str(port), str(n_users), str(n_items)]
    started = subprocess.Popen(  # noqa: S603
        [*command, *numbers],
        env={**os.environ, _KEY: KEY},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if started.stdin is None or started.stdout is None:
        raise OSError("no pipes")
    started.stdout.readline()  # it has begun
    try:
        yield done
    finally:
        started.stdin.close()
        for name, value in json.loads(started.stdout.readline()).items():
            setattr(done, name, value)
        started.wait(timeout=60)


def _import(port: int, done: OtherWork, rng: np.random.Generator, sizes: tuple[int, int]) -> None:
    users, items = (rng.integers(0, size, _LINES) for size in sizes)
    lines = [
        json.dumps({"event_id": uuid.uuid4().hex, "user_id": str(user), "item_id": f"i{item}"})
        for user, item in zip(users.tolist(), items.tolist(), strict=True)
    ]
    done.imported += json.loads(
        _ask(port, done, "POST", "/api/bulk", "\n".join(lines), "application/x-ndjson")
    ).get("stored", 0)


def _look(port: int, done: OtherWork, rng: np.random.Generator, sizes: tuple[int, int]) -> None:
    begun = time.perf_counter()
    _ask(port, done, "GET", f"/api/users/{rng.integers(0, sizes[0])}/similar")
    done.similar_ms.append(1000 * (time.perf_counter() - begun))
    time.sleep(_PAUSE)


def _swap(port: int, done: OtherWork, _rng: np.random.Generator, _sizes: tuple[int, int]) -> None:
    _ask(port, done, "POST", "/api/adapter/reload", "{}")
    done.swaps += 1


def _ask(
    port: int, done: OtherWork, method: str, path: str, body: str = "", kind: str = ""
) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    headers = {"X-API-Key": os.environ[_KEY], "content-type": kind or "application/json"}
    connection.request(method, path, body or None, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    done.failed += answer.status not in (200, 201)
    return content


Task = Callable[[int, OtherWork, np.random.Generator, tuple[int, int]], None]


def _main(port: int, sizes: tuple[int, int]) -> None:
    done, stop = OtherWork(), threading.Event()

    def repeat(task: Task, seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not stop.is_set():
            task(port, done, rng, sizes)

    tasks = enumerate((_import, _look, _swap))
    threads = [threading.Thread(target=repeat, args=(task, seed)) for seed, task in tasks]
    for one in threads:
        one.start()
    click.echo("begun")
    sys.stdin.read()
    stop.set()
    for one in threads:
        one.join()
    click.echo(json.dumps(vars(done)))


if __name__ == "__main__":
    _main(int(sys.argv[1]), (int(sys.argv[2]), int(sys.argv[3])))
