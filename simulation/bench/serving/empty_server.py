"""An empty FastAPI route behind the node's own server: what no answer over HTTP can be below.

`python -m simulation.bench.serving.empty_server` prints its port and serves until it is ended.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
import uvicorn
from fastapi import FastAPI
from threadpoolctl import threadpool_limits

from client.serving.server import server_config
from client.serving.service.settings import ServingSettings


@contextmanager
def empty_server() -> Iterator[int]:
    """Runs it in a process of its own and gives its port."""
    command = [sys.executable, "-m", "simulation.bench.serving.empty_server"]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        yield int(started.stdout.readline() if started.stdout else "")
    finally:
        started.terminate()
        started.wait(timeout=60)


def _serve() -> None:
    app = FastAPI()

    @app.get("/empty")
    async def empty() -> dict[str, str]:
        return {}

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(4096)
    click.echo(listening.getsockname()[1])
    with threadpool_limits(limits=1):
        uvicorn.Server(server_config(app, ServingSettings())).run(sockets=[listening])


if __name__ == "__main__":
    _serve()
