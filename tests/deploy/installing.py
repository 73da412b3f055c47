"""A coordinator and a node without a network, for what is installed and served."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from federations import DELTA, EPSILON
from tiny_shops import N_ITEMS, write_tiny_shops

from client.deploy.adapters import Adapters
from client.deploy.folder import NodeFolder
from client.deploy.install import install
from client.deploy.setup import init_node, make_node_key, new_node
from client.deploy.source import open_base
from server.deploy.folder import ServerFolder
from server.deploy.new_settings import new_settings
from server.deploy.registry import Registry, Release
from server.deploy.setup import init_server
from server.deploy.shops import make_invitation
from shared.deploy.settings_file import write_settings
from shared.messages import Arrays
from shared.model.adapter import adapter_arrays, attach
from shared.model.projection import PROJECTION_B
from shared.privacy.ledger.entries import Limits

HEAD = (1, 4, 7, 20)


@dataclass
class Pair:
    """A coordinator and a node that never talk over a network here."""

    server: ServerFolder
    node: NodeFolder
    arrays: Arrays

    def release(self, value: float = 1.0, *, run: int = 1, **fields: Any) -> Release:
        arrays = {**self.arrays, PROJECTION_B: np.full_like(self.arrays[PROJECTION_B], value)}
        return self.add(arrays, run=run, **fields)

    def add(self, arrays: Arrays, **fields: Any) -> Release:
        values: dict[str, Any] = {
            "run": 1,
            "round": 2,
            "base_hash": self.node.invitation().base.base_hash,
            "plan": "a" * 64,
            "participants": ("north",),
            "privacy": None,
            "statistics": {"scale": 10.0},
        }
        return Registry(self.server).add("adapter", arrays, **(values | fields))

    def statistic(self, kind: Any, arrays: dict[str, Any], **fields: Any) -> Release:
        values: dict[str, Any] = {
            "run": 1,
            "round": 0,
            "base_hash": self.node.invitation().base.base_hash,
            "plan": "a" * 64,
            "participants": ("north",),
            "privacy": None,
            "statistics": {"noise_std": 0.5},
        }
        return Registry(self.server).add(kind, arrays, **(values | fields))

    def counts(self, scale: float = 1.0, **fields: Any) -> Release:
        counts = scale * np.arange(N_ITEMS, dtype=np.float32)
        return self.statistic("counts", {"counts": counts}, **fields)

    def pairs(self, head: Any = HEAD, scale: float = 1.0, **fields: Any) -> Release:
        h = len(head)
        sums = scale * np.linspace(0, 9, h * (h - 1) // 2, dtype=np.float32)
        codes = np.asarray(head, np.int64)
        return self.statistic("pairs", {"head": codes, "pairs": sums}, **fields)

    def install(self, release: Release, **changes: Any) -> int:
        values: dict[str, Any] = {
            "content": release.manifest.content(),
            "signature": release.signature,
            "file": release.file,
        }
        return install(self.node, **(values | changes))

    def serves(self) -> int | None:
        return Adapters(self.node).pointer().current.get("adapter")

    def allow_older(self) -> None:
        settings = self.node.settings().model_copy(update={"allow_older": True})
        write_settings(self.node.config, settings)


def make_pair(tmp_path: Path) -> Pair:
    """Makes both folders."""
    data = write_tiny_shops(tmp_path / "all" / "data", shops=1)
    options = {
        "name": "test",
        "address": "127.0.0.1:1",
        "port": 1,
        "names": (),
        "time_unit": "order",
        "privacy.epsilon": EPSILON,
        "privacy.delta": DELTA,
    }
    encoder = tmp_path / "all" / "encoder"
    sets = [f"model.encoder={encoder}", "model.dim=6", "model.rank=4", "model.alpha=4"]
    init_server(tmp_path / "server", new_settings(options, sets), catalogue=data / "items.csv")
    server, node = ServerFolder(tmp_path / "server"), NodeFolder(tmp_path / "node")
    make_node_key(node.root)
    offer = make_invitation(server, "north")
    limits = Limits(epsilon=8.0, delta=DELTA)
    init_node(
        node.root,
        new_node(data=data, order_column="position", limits=limits, encoder=None, offer=offer),
        offer,
    )
    model = offer.base.model
    return Pair(server, node, adapter_arrays(attach(open_base(node), model, seed=0)))
