"""A server and its nodes as processes of their own, with all that they print and when."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from client.deploy.setup import init_node, make_node_key, new_node
from server.deploy.control import control
from server.deploy.folder import ServerFolder
from server.deploy.new_settings import new_settings
from server.deploy.setup import init_server
from server.deploy.shops import invite, read_shops
from shared.deploy.owner_files import make_folder
from shared.errors import RunError
from shared.privacy.ledger.entries import Limits

DELTA = 1e-3
PAUSE = 0.25
"""Seconds between two looks at the server: each costs it a handshake."""


def free_port() -> int:
    """Returns a free port on loopback."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_until(what: Callable[[], bool], *, seconds: float, name: str) -> None:
    """Waits for something to become true.

    Raises:
        RunError: It did not.
    """
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() >= end:
            raise RunError(f"{name} did not happen within {seconds:g} s; is the machine busy?")
        time.sleep(PAUSE)


class Watched:
    """A command in a process group of its own; each line it prints is kept with its time.

    Args:
        words: The command.
        folder: Working directory.
        environment: Added to this process's.
    """

    def __init__(self, words: list[str], *, folder: Path, environment: Mapping[str, str]) -> None:
        self.lines: list[tuple[float, str]] = []
        self._process = subprocess.Popen(  # noqa: S603  # our own commands
            words,
            cwd=folder,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def check(self) -> None:
        """Makes sure that it still runs.

        Raises:
            RunError: It ended by itself.
        """
        status = self._process.poll()
        if status is not None:
            self._reader.join(timeout=5)
            last = "; ".join(text for _, text in self.lines[-3:])
            raise RunError(f"process ended with status={status}: {last}")

    def wait(self, *, seconds: float) -> None:
        """Waits for a good end.

        Raises:
            RunError: It failed or took too long.
        """
        try:
            status = self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            status = -1
        self._reader.join(timeout=5)
        if status != 0:
            last = "; ".join(text for _, text in self.lines[-3:])
            raise RunError(f"process ended with status={status} within {seconds:g} s: {last}")

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Ends the process and all that it started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, how)
        self._process.wait(timeout=30)

    def _read(self) -> None:
        for text in self._process.stdout or ():
            self.lines.append((time.time(), text.rstrip("\n")))


@dataclass
class Deployment:
    """Folders of a server and its nodes, and their processes.

    Attributes:
        root: Holds all of them.
        settings: What differs from the server's defaults, by dotted name.
        port: Of the server.
        processes: By name.
    """

    root: Path
    settings: Mapping[str, object]
    port: int = field(default_factory=free_port)
    processes: dict[str, Watched] = field(default_factory=dict)

    def __enter__(self) -> Deployment:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self.processes.values():
            process.kill()

    @property
    def server(self) -> ServerFolder:
        """The server's folder."""
        return ServerFolder(self.root / "server")

    @property
    def cache(self) -> Path:
        """Vectors of the catalogue that the server encodes."""
        return self.root / "cache"

    def node(self, shop: str) -> Path:
        """The folder of a shop's node."""
        return self.root / shop / "node"

    def init_server(self, *, catalogue: Path) -> None:
        """Makes the server."""
        options = {
            "name": "bench",
            "address": f"127.0.0.1:{self.port}",
            "port": self.port,
            "names": (),
            "privacy.epsilon": 8.0,
            "privacy.delta": DELTA,
        }
        chosen = new_settings(options, [f"{name}={value}" for name, value in self.settings.items()])
        init_server(self.server.root, chosen, catalogue=catalogue)

    def init_node(self, shop: str, *, port: int) -> None:
        """Makes a shop's node.

        Args:
            shop: Its data are in `SHOP/data`.
            port: On which it reaches the server.
        """
        key = make_node_key(self.node(shop))
        offer = invite(self.server, shop, key=key, out=self.root / f"{shop}.invitation")
        offer = offer.model_copy(update={"address": f"127.0.0.1:{port}"})
        limits = Limits(epsilon=40.0, delta=DELTA)
        data = self.root / shop / "data"
        chosen = new_node(data=data, order_column=None, limits=limits, encoder=None, offer=offer)
        make_folder(self.node(shop))
        init_node(self.node(shop), chosen, offer)

    def start(self, name: str, *words: str | Path) -> Watched:
        """Starts a command of fedprofile."""
        command = [sys.executable, "-m", "shared", *map(str, words)]
        environment = {"FEDPROFILE_CACHE": str(self.cache), "PYTHONUNBUFFERED": "1"}
        self.processes[name] = Watched(command, folder=self.root, environment=environment)
        return self.processes[name]

    def start_server(self) -> None:
        """Starts the server and waits until it answers."""
        self.start("server", "server", "start", "--dir", self.server.root)
        wait_until(self.answers, seconds=120, name="start of the server")

    def start_node(self, shop: str) -> None:
        """Starts a shop's node."""
        self.start(shop, "node", "start", "--dir", self.node(shop))

    def answers(self) -> bool:
        """Says whether the server's port is open."""
        with socket.socket() as link:
            return link.connect_ex(("127.0.0.1", self.port)) == 0

    def online(self) -> set[str]:
        """Returns the shops that the server holds for connected."""
        names = {entry.node_id: entry.shop for entry in read_shops(self.server).values()}
        with control(self.server) as link:
            return {names[node] for node in link.online() if node in names}

    def wait_online(self, number: int, *, seconds: float) -> None:
        """Waits until that many nodes are connected.

        Raises:
            RunError: They are not in time, or a process ended.
        """

        def all_there() -> bool:
            for process in self.processes.values():
                process.check()
            return len(self.online()) == number

        wait_until(all_there, seconds=seconds, name=f"connection of {number} nodes")

    def run(self, *, seconds: float) -> Watched:
        """Does a whole federated run."""
        process = self.start("run", "server", "run", "--dir", self.server.root)
        process.wait(seconds=seconds)
        return process
