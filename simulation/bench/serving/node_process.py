"""A node of a large shop in a process of its own, started by its command as a shop starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from shared.errors import RunError
from simulation.bench.serving.http_load import KEY

_PATIENCE = 600.0
_NODE = (sys.executable, "-P", "-m", "shared", "node")


@dataclass(frozen=True)
class Node:
    """A running node.

    Attributes:
        port: On loopback.
        process: Its process.
        start_seconds: From the start of the process to the first good answer.
    """

    port: int
    process: psutil.Process
    start_seconds: float

    def get(self, path: str) -> Any:
        """Returns the JSON of a GET."""
        request = urllib.request.Request(  # our own address
            f"http://127.0.0.1:{self.port}{path}", headers={"X-API-Key": KEY}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)

    def post(self, path: str, body: Any) -> Any:
        """Returns the JSON of a POST."""
        request = urllib.request.Request(  # our own address
            f"http://127.0.0.1:{self.port}{path}",
            data=json.dumps(body).encode(),
            headers={"content-type": "application/json", "X-API-Key": KEY},
        )
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:  # noqa: S310
            return json.load(answer)


def import_seconds(folder: Path) -> float:
    """Imports `folder/data` into `folder/shop.db` by the command and returns its wall time."""
    begun = time.perf_counter()
    subprocess.run(  # noqa: S603  # our own command
        [*_NODE, "import", "--store", str(folder / "shop.db"), "--data", str(folder / "data")],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - begun


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Node]:
    """Starts a node on `folder/shop.db` with its cache in `folder`, and ends it in order.

    Raises:
        RunError: It did not answer.
    """
    begun = time.perf_counter()
    command = [*_NODE, "serve", "--store", str(folder / "shop.db"), "--port", "0", *options]
    own = {"FEDPROFILE_CACHE": str(folder / "cache"), "FEDPROFILE_API_KEY": KEY}
    environment = {**os.environ, **own}
    started = subprocess.Popen(  # noqa: S603
        command, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        line = started.stdout.readline() if started.stdout else ""
        if not line.startswith("serving on http://"):
            raise RunError(f"the node did not start ({line!r})", remedy=f"try {' '.join(command)}")
        port = int(line.split()[2].rstrip(",").rsplit(":", 1)[1])
        _wait(port)
        yield Node(port, psutil.Process(started.pid), time.perf_counter() - begun)
    finally:
        started.terminate()
        started.wait(timeout=_PATIENCE)


def _wait(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            address = f"http://127.0.0.1:{port}/health/ready"
            with urllib.request.urlopen(address, timeout=5):
                return
        except urllib.error.URLError:
            time.sleep(0.02)
    raise RunError("the node took no request for 60 s", remedy="see its log")
