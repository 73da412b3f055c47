"""A coordinator and a node without a network, for what is installed and served."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from client.deploy.folder import NodeFolder
from client.deploy.incoming_releases import install
from client.deploy.installed_releases import InstalledReleases
from client.deploy.setup import init_node, make_node_key, new_node
from client.deploy.shop_source import open_base
from server.coordinator.folder import ServerFolder
from server.coordinator.invited_shops import make_invitation
from server.coordinator.setup import init_server, new_settings
from server.runs.releases import Release, ReleaseRegistry
from shared.model.adapter import adapter_arrays, attach
from shared.model.profile_space import PROJECTION_B
from shared.privacy.ledger.log.entries import LifetimeLimits
from shared.protocol.messages import Arrays
from shared.settings.service_file import write_settings
from tests.deploy.federations import DELTA, EPSILON
from tests.simulation.tiny_shops import N_ITEMS, write_tiny_shops

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
        return ReleaseRegistry(self.server).add("adapter", arrays, **(values | fields))

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
        return ReleaseRegistry(self.server).add(kind, arrays, **(values | fields))

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
        return InstalledReleases(self.node).pointer().current.get("adapter")

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
    limits = LifetimeLimits(epsilon=8.0, delta=DELTA, max_users=1_000)
    init_node(
        node.root,
        new_node(data=data, order_column="position", limits=limits, encoder=None, invitation=offer),
        offer,
    )
    model = offer.base.model
    return Pair(server, node, adapter_arrays(attach(open_base(node), model, seed=0)))
