"""A federation of real processes on loopback: one server, a node a shop, TLS and node keys."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from client.deploy.folder import NodeFolder
from client.deploy.node_process import installed, node_status
from client.deploy.roster import accept_roster, offered_roster
from client.deploy.setup import init_node, make_node_key, new_node
from server.coordinator.folder import ServerFolder
from server.coordinator.invited_shops import invite_shop
from server.coordinator.setup import init_server, new_settings
from server.federation.server_state import Checkpoints
from server.runs.supervision import server_status
from server.runs.training_run import TrainingRun
from shared.privacy.ledger.log.entries import LifetimeLimits
from shared.privacy.ledger.log.shop_files import ShopFiles
from shared.protocol.invitation import read_invitation
from simulation.bench.deployment.processes import free_port, wait_until
from tests import ROOT
from tests.simulation.tiny_shops import write_tiny_shops

COMMAND = [sys.executable, "-m", "shared"]
SETS = {
    "model.dim": 6,
    "model.rank": 4,
    "model.alpha": 4,
    "training.divisor": 10,
    "training.candidates": 16,
    "training.rounds": 2,
    "federation.round_timeout": 60,
    "federation.min_replies": 2,
    "privacy.pairs_share": 0.0,  # one request less a run; test_pairs_end_to_end.py has pairs
    "privacy.adapter_share": 0.8,
    "wait": 60,
}
EPSILON, DELTA = 8.0, 1e-6
WAIT = 300.0
"""Seconds to wait for what must happen, however busy the machine; only a failure takes as long."""


@dataclass
class Federation:
    """Folders, and the processes that were started."""

    root: Path
    shops: tuple[str, ...] = ("shop0", "shop1", "shop2")
    port: int = field(default_factory=free_port)
    public_port: int | None = None
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def server(self) -> Path:
        return self.root / "server"

    def node(self, shop: str) -> Path:
        return self.root / shop / "node"

    def environment(self) -> dict[str, str]:
        own = {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        return {**os.environ, **own, "FEDPROFILE_CACHE": str(self.root / "cache")}

    def run(self, *words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        done = subprocess.run(
            [*COMMAND, *map(str, words)],
            env=self.environment(),
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=2 * WAIT,
        )
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def start(
        self,
        name: str,
        *words: object,
        command: list[str] | None = None,
        environment: dict[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Starts a command in a process group of its own."""
        with (self.root / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*(command or COMMAND), *map(str, words)],
                env=self.environment() | (environment or {}),
                cwd=self.root,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes[name] = process
        return process

    def log(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text(errors="replace")

    def kill(self, name: str, how: int = signal.SIGKILL) -> None:
        """Ends a process and all that it started."""
        process = self.processes.pop(name)
        if process.poll() is None:
            os.killpg(process.pid, how)
        process.wait(timeout=300)

    def close(self) -> None:
        for name in list(self.processes):
            self.kill(name)

    def write_data(self, *, users: int = 14) -> None:
        """Writes the public catalogue and each shop's own folder."""
        source = write_tiny_shops(self.root / "all" / "data", shops=len(self.shops), users=users)
        table = pd.read_csv(source / "interactions.csv")
        for shop in self.shops:
            folder = self.root / shop / "data"
            folder.mkdir(parents=True, exist_ok=True)
            own = table[table["shop_id"] == shop].drop(columns="shop_id")
            own.to_csv(folder / "interactions.csv", index=False)

    @property
    def catalogue(self) -> Path:
        return self.root / "all" / "data" / "items.csv"

    @property
    def encoder(self) -> Path:
        return self.root / "all" / "encoder"

    def init_server(self, **sets: object) -> None:
        values = {**SETS, "model.encoder": self.encoder, **sets}
        options = {
            "name": "test",
            "address": f"127.0.0.1:{self.public_port or self.port}",
            "port": self.port,
            "names": (),
            "time_unit": "order",
            "privacy.epsilon": EPSILON,
            "privacy.delta": DELTA,
        }
        settings = new_settings(options, [f"{name}={value}" for name, value in values.items()])
        init_server(self.server, settings, catalogue=self.catalogue)

    def start_server(self) -> None:
        self.start("server", "server", "start", "--dir", self.server)
        wait_until(self.answers, seconds=WAIT, name="server")

    def answers(self) -> bool:
        with socket.socket() as link:
            return link.connect_ex(("127.0.0.1", self.port)) == 0

    def init_node(
        self, shop: str, *, epsilon: float = 40.0, through: int | None = None, **changes: object
    ) -> None:
        """Makes a node; `through` is the port of a relay that it takes for the server."""
        key = make_node_key(self.node(shop))
        invite_shop(ServerFolder(self.server), shop, key=key, out=self.root / f"{shop}.invitation")
        offer = read_invitation(self.root / f"{shop}.invitation")
        if through is not None:
            offer = offer.model_copy(update={"address": f"127.0.0.1:{through}"})
        settings = new_node(
            data=self.root / shop / "data",
            order_column="position",
            limits=LifetimeLimits(epsilon=epsilon, delta=DELTA, max_users=1_000),
            encoder=None,
            invitation=offer,
        )
        init_node(self.node(shop), settings.model_copy(update=changes), offer)

    def start_node(self, shop: str, **environment: str) -> subprocess.Popen[bytes]:
        words = ("node", "start", "--dir", self.node(shop))
        return self.start(shop, *words, environment=environment)

    def start_hostile(
        self, shop: str, *, plan: dict[str, str], program: str = "hostile_node", **environment: str
    ) -> subprocess.Popen[bytes]:
        """Starts a node of somebody who changed the code; see `hostile_node`."""
        (self.node(shop) / "hostile.json").write_text(json.dumps(plan))
        command = [sys.executable, "-m", f"tests.deploy.faults.{program}"]
        return self.start(shop, self.node(shop), command=command, environment=environment)

    def online(self) -> set[str]:
        found = server_status(ServerFolder(self.server))["shops"]
        return {entry["shop"] for entry in found if entry["node"] == "connected"}

    def run_rounds(self, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("server", "run", "--dir", self.server, check=check)

    def resume_rounds(self) -> subprocess.CompletedProcess[str]:
        return self.run("server", "resume", "--dir", self.server)

    def abandon_run(self) -> subprocess.CompletedProcess[str]:
        return self.run("server", "abandon", "--dir", self.server)

    def current(self, shop: str) -> dict[str, int]:
        """What a node serves, verified."""
        found = installed(NodeFolder(self.node(shop)))
        assert all(entry["state"] == "verified" for entry in found)
        return {entry["kind"]: entry["number"] for entry in found if entry["current"]}

    def budget(self, shop: str) -> dict[str, float]:
        found: dict[str, float] = node_status(NodeFolder(self.node(shop)))["budget"]
        return found

    def ledger(self, shop: str) -> Path:
        return ShopFiles.of(NodeFolder(self.node(shop)).ledgers, shop).ledger

    def bodies(self, shop: str) -> list[dict[str, Any]]:
        """What stands in a shop's ledger, line by line."""
        lines = self.ledger(shop).read_text().splitlines()
        return [json.loads(line)["body"] for line in lines]

    def make_roster(self, *words: object) -> None:
        """Makes a roster of all shops, and tells all nodes what was signed until then."""
        self.run("server", "roster", "make", "--dir", self.server, *words)

    def accept_roster(self, *shops: str) -> None:
        """Accepts what was offered as the command does, without a process for each owner."""
        for shop in shops:
            folder = NodeFolder(self.node(shop))
            roster = offered_roster(folder)
            assert roster is not None, shop
            accept_roster(folder, roster.digest())

    def sign_roster(self) -> None:
        """Makes the roster and lets all owners accept it."""
        self.make_roster()
        self.accept_roster(*self.shops)
        self.make_roster()

    def build(self, *, start: bool = True, **sets: object) -> Federation:
        """Makes and starts everything, and waits until all nodes are connected."""
        os.environ["FEDPROFILE_CACHE"] = str(self.root / "cache")
        self.write_data()
        self.init_server(**sets)
        self.start_server()
        for shop in self.shops:
            self.init_node(shop)
            if start:
                self.start_node(shop)
        if start:
            wait_until(lambda: self.online() == set(self.shops), seconds=WAIT, name="nodes")
        return self


def refusals_of(federation: Federation, number: int) -> set[tuple[int, str, str]]:
    """Round, shop and code of all refusals of a run, from its last checkpoint."""
    run = TrainingRun(ServerFolder(federation.server), number)
    made, _ = run.federation()
    state = Checkpoints(run.path / "checkpoints", digest=made.digest()).load(resume=True)
    assert state is not None
    return {(refusal.round, refusal.shop, refusal.code) for refusal in state.refusals}
