"""Deployed runs whose noise is shared: eight real nodes, and a hundred with a stub trainer."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import pandas as pd

from client.deploy.folder import NodeFolder
from client.deploy.setup import make_node_key
from server.coordinator.invited_shops import invite_shop
from server.coordinator.roster import RosterFiles
from shared.keys.signing import SigningKey
from shared.protocol.roster_messages import RosterAnswer
from shared.secure_aggregation.roster import sign_roster
from simulation.bench.deployment.figures import few_items
from simulation.bench.deployment.processes import (
    CATALOGUE,
    EVENTS,
    Deployment,
    LoggedProcess,
    wait_until,
    write_shops,
)
from simulation.bench.deployment.round_timing import spans
from simulation.bench.deployment.secure_stub_nodes import stub_key
from simulation.reporting.benchmark_page import BenchmarkFigure

REAL, USERS, ROUNDS = 8, 300, 2
STUBS, PROCESSES = 100, 2
SETTINGS = {"training.rounds": ROUNDS, "wait": 120, "federation.round_timeout": 300}
STUB_SETTINGS = {
    **SETTINGS,
    "privacy.counts_share": 0.5,
    "privacy.pairs_share": 0.0,
    "privacy.adapter_share": 0.5,
}


def secure_runs_figures() -> list[BenchmarkFigure]:
    """Measures eight nodes on the packaged data, then a hundred stubs."""
    return [eight_nodes(), many_secure_nodes()]


def eight_nodes(table: Path | None = None, items: Path | None = None) -> BenchmarkFigure:
    """Measures a run with counts, pairs and two rounds, from its command to its end.

    Args:
        table: Events of shops named `shop0` to `shop7` in `shop_id`, ordered by `position`; None
            takes 300 households of the packaged data for each of eight shops.
        items: The public catalogue beside it.
    """
    shops = [f"shop{number}" for number in range(REAL)]
    with tempfile.TemporaryDirectory() as name:
        root, order = Path(name), None
        if table is None or items is None:
            catalogue = write_shops(root, shops, users=USERS)
        else:
            catalogue, order = _cut(root, table, items), "position"
        settings = {**SETTINGS, "time_unit": "order" if order else "days"}
        with Deployment(root, settings) as deployment:
            with patch.dict(os.environ, {"FEDPROFILE_CACHE": str(deployment.cache)}):
                deployment.init_server(catalogue=catalogue)
            deployment.start_server()
            for shop in shops:
                deployment.init_node(shop, port=deployment.port, order_column=order)
                cache = NodeFolder(deployment.node(shop)).cache
                shutil.copytree(deployment.cache, cache, dirs_exist_ok=True)
                deployment.start_node(shop)
            wait_until(lambda: deployment.online() == set(shops), seconds=300, name="connection")
            deployment.sign_roster(shops, seconds=300)
            started = time.monotonic()
            process = deployment.run(seconds=1200)
            seconds = time.monotonic() - started
            log = (deployment.server.logs / "server.jsonl").read_text().splitlines()
    each = ", ".join(f"{span.seconds:.0f}" for span in spans(log))
    (price,) = (text for _, text in process.lines if text.startswith("run 1: "))
    note = (
        f"{REAL} real nodes, catalogue encoded before; counts, pairs and {ROUNDS} rounds in {each} "
        f"s, the rest is start, set-up and sending three releases; {price.removeprefix('run 1: ')}"
    )
    return BenchmarkFigure("a run of 8 nodes by secure aggregation", seconds, 360, "s", note)


def _cut(root: Path, table: Path, items: Path) -> Path:
    events = pd.read_csv(table)
    for shop, own in events.groupby("shop_id"):
        folder = root / str(shop) / "data"
        folder.mkdir(parents=True)
        own.drop(columns="shop_id").to_csv(folder / EVENTS, index=False)
    pd.read_csv(items).to_csv(root / CATALOGUE, index=False)
    return root / CATALOGUE


def many_secure_nodes(*, nodes: int = STUBS) -> BenchmarkFigure:
    """Measures a run over many shops, each with a ledger and the whole protocol.

    Args:
        nodes: Of the federation.
    """
    shops = [f"shop{number:03d}" for number in range(nodes)]
    with tempfile.TemporaryDirectory() as name, Deployment(Path(name), STUB_SETTINGS) as deployment:
        deployment.init_server(catalogue=few_items(deployment.root))
        deployment.start_server()
        keys = _make_nodes(deployment, shops)
        _sign(deployment, keys)
        for part in range(PROCESSES):
            _start(deployment, shops[part::PROCESSES], name=f"nodes{part}")
        deployment.wait_online(nodes, seconds=300)
        started = time.monotonic()
        deployment.run(seconds=2400)
        seconds = time.monotonic() - started
        log = (deployment.server.logs / "server.jsonl").read_text().splitlines()
    done = spans(log)
    missing = float(sum(nodes - span.good for span in done))
    note = (
        f"of {nodes * len(done)} masked inputs; {len(done)} sums in "
        f"{', '.join(f'{span.seconds:.0f}' for span in done)} s, {seconds:.0f} s in all; real "
        f"server, protocol and ledgers, connections in {PROCESSES} processes, stub trainer"
    )
    return BenchmarkFigure(
        f"{nodes} nodes by secure aggregation: missing", missing, 0, "inputs", note
    )


def _make_nodes(deployment: Deployment, shops: list[str]) -> dict[str, SigningKey]:
    root = deployment.root
    for shop in shops:
        key = make_node_key(deployment.node(shop))
        invite_shop(deployment.server, shop, key=key, out=root / f"{shop}.invitation")
    (root / "address").write_text(f"127.0.0.1:{deployment.port}")
    (root / "authority.pem").write_bytes(deployment.server.authority.read_bytes())
    return {shop: stub_key(root, shop) for shop in shops}


def _sign(deployment: Deployment, keys: dict[str, SigningKey]) -> None:
    files = RosterFiles(deployment.server)
    for shop, key in keys.items():
        files.note(shop, RosterAnswer(key=key.public))
    roster = files.propose()
    for shop, key in keys.items():
        files.note(shop, RosterAnswer(key=key.public, signature=sign_roster(key, roster)))


def _start(deployment: Deployment, shops: list[str], *, name: str) -> None:
    module = "simulation.bench.deployment.secure_stub_nodes"
    words = [sys.executable, "-P", "-m", module, str(deployment.root), *shops]
    deployment.processes[name] = LoggedProcess(
        words, folder=deployment.root, environment={"OMP_NUM_THREADS": "1"}
    )
