"""A server and its nodes as processes of their own, with all that they print and when.

The files of their shops.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
import pandas as pd

from client.deploy.folder import NodeFolder
from client.deploy.roster import accept_roster, offered_roster
from client.deploy.setup import init_node, make_node_key, new_node
from server.coordinator.folder import ServerFolder
from server.coordinator.invited_shops import invite_shop, read_shops
from server.coordinator.setup import init_server, new_settings
from server.coordinator.superlink import connect_superlink
from shared.errors import RunError
from shared.interactions.datasets.complete_journey import CLOCK, read_complete_journey
from shared.privacy.ledger.log.entries import LifetimeLimits
from shared.runtime.file_store import make_folder
from shared.settings.run_settings import DataSettings

CATALOGUE, EVENTS = "catalogue.csv", "interactions.csv"


def write_shops(root: Path, names: Sequence[str], *, users: int, seed: int = 1) -> Path:
    """Writes `SHOP/data/interactions.csv` for each shop and one public catalogue.

    A household is in one shop; which one is drawn at random.

    Args:
        root: Where the folders are made.
        names: Of the shops.
        users: Households of each shop.
        seed: Of the draw.

    Returns:
        The catalogue's file.
    """
    data = read_complete_journey(DataSettings(), by_shop=False)
    events = data.events
    early = data.scored[events.item] & (events.time < CLOCK.validation_start)
    events = events.select(early)
    drawn = np.random.default_rng(seed).permutation(np.unique(events.user))[: len(names) * users]
    for name, members in zip(names, np.split(drawn, len(names)), strict=True):
        own = events.select(np.isin(events.user, members))
        table = pd.DataFrame(
            {
                "user_id": data.user_ids[own.user],
                "item_id": data.catalogue.item_ids[own.item],
                "datetime": pd.to_datetime(own.time, unit="D").strftime("%Y-%m-%dT%H:%M:%S"),
                "quantity": own.quantity,
            }
        )
        (root / name / "data").mkdir(parents=True)
        table.to_csv(root / name / "data" / EVENTS, index=False)
    items = np.flatnonzero(data.scored)
    titles = [data.catalogue.texts[item] for item in items.tolist()]
    public = pd.DataFrame({"item_id": data.catalogue.item_ids[items], "title": titles})
    public.to_csv(root / CATALOGUE, index=False)
    return root / CATALOGUE


DELTA = 1e-6
PAUSE = 0.25
"""Seconds between two looks at the server: each costs it a handshake."""


def free_port() -> int:
    """Returns a free port on loopback."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(what: Callable[[], bool], *, seconds: float, name: str) -> None:
    """Waits for something to become true.

    Raises:
        RunError: It did not.
    """
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() >= end:
            raise RunError(
                f"{name} did not happen within {seconds:g} s",
                remedy="see the log of the process and whether the machine is busy",
            )
        time.sleep(PAUSE)


class LoggedProcess:
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
            raise RunError(
                f"process ended with status={status}: {last}",
                remedy="see the output of the process",
            )

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
            raise RunError(
                f"process ended with status={status} within {seconds:g} s: {last}",
                remedy="see the output of the process",
            )

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
    processes: dict[str, LoggedProcess] = field(default_factory=dict)

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

    def init_node(self, shop: str, *, port: int, order_column: str | None = None) -> None:
        """Makes a shop's node.

        Args:
            shop: Its data are in `SHOP/data`.
            port: On which it reaches the server.
            order_column: Stands for time where the data have no dates.
        """
        key = make_node_key(self.node(shop))
        offer = invite_shop(self.server, shop, key=key, out=self.root / f"{shop}.invitation")
        offer = offer.model_copy(update={"address": f"127.0.0.1:{port}"})
        limits = LifetimeLimits(epsilon=40.0, delta=DELTA)
        data = self.root / shop / "data"
        chosen = new_node(
            data=data, order_column=order_column, limits=limits, encoder=None, invitation=offer
        )
        make_folder(self.node(shop))
        init_node(self.node(shop), chosen, offer)

    def start(self, name: str, *words: str | Path) -> LoggedProcess:
        """Starts a command of fedprofile."""
        command = [sys.executable, "-P", "-m", "shared", *map(str, words)]
        environment = {"FEDPROFILE_CACHE": str(self.cache), "PYTHONUNBUFFERED": "1"}
        self.processes[name] = LoggedProcess(command, folder=self.root, environment=environment)
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
        with connect_superlink(self.server) as link:
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

    def sign_roster(self, shops: Sequence[str], *, seconds: float) -> None:
        """Makes the roster, accepts it as each owner does, and sends what all have signed."""
        for number, last in enumerate((False, True)):
            words = ("server", "roster", "make", "--dir", self.server.root)
            self.start(f"roster{number}", *words).wait(seconds=seconds)
            for shop in () if last else shops:
                folder = NodeFolder(self.node(shop))
                roster = offered_roster(folder)
                if roster is None:
                    raise RunError("was offered none", name="roster of", value=shop)
                accept_roster(folder, roster.digest())

    def run(self, *, seconds: float) -> LoggedProcess:
        """Does a whole federated run."""
        process = self.start("run", "server", "run", "--dir", self.server.root)
        process.wait(seconds=seconds)
        return process
