"""Counts, pairs and adapter from three shops' machines to a served recommendation."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from server.coordinator.folder import ServerFolder
from server.runs.releases import ReleaseRegistry
from server.runs.training_run import TrainingRun
from simulation.bench.deployment.processes import wait_until
from tests.client.serving.small_service import owner_key
from tests.deploy.federations import WAIT, Federation
from tests.simulation.tiny_shops import N_ITEMS

pytestmark = pytest.mark.slow
SETS = {
    "privacy.counts_share": 0.2,
    "privacy.pairs_share": 0.6,
    "privacy.adapter_share": 0.2,
    "privacy.epsilon": 40.0,
    "privacy.head_items": N_ITEMS,
    "training.rounds": 1,
}
USERS = (30, 120, 120)
"""Of each shop; the first is too small to see for itself what is bought together."""


@pytest.fixture(scope="module")
def federation(make_federation: Callable[..., Federation]) -> Federation:
    """A federation of one small and two large shops that has done a run."""
    found = make_federation()
    found.write_data()
    for place, shop in enumerate(found.shops):
        _write_couples(found.root / shop / "data", USERS[place], first=1000 * place)
    found.init_server(**SETS)
    found.start_server()
    for shop in found.shops:
        found.init_node(shop, epsilon=50.0)
        found.start_node(shop)
    wait_until(lambda: found.online() == set(found.shops), seconds=WAIT, name="nodes")
    found.run_rounds()
    return found


def _write_couples(folder: Path, users: int, *, first: int) -> None:
    """Writes users who take four items of any kind, and last an item and its only partner."""
    rng, half = np.random.default_rng(first), N_ITEMS // 2
    rows = []
    for user in range(first, first + users):
        couple = int(rng.integers(half))
        others = [item for item in range(N_ITEMS) if item % half != couple]
        items = [*rng.choice(others, 4, replace=False), *rng.permutation([couple, couple + half])]
        rows += [(f"u{user}", f"i{item}", place) for place, item in enumerate(items)]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "position"])
    table.to_csv(folder / "interactions.csv", index=False)


def test_each_part_is_paid_for_once_and_signed(federation: Federation) -> None:
    folder = ServerFolder(federation.server)
    assert TrainingRun(folder, 1).state().status == "finished"
    counts, pairs, adapter = ReleaseRegistry(folder).newest()
    assert [r.manifest.kind for r in (counts, pairs, adapter)] == ["counts", "pairs", "adapter"]
    assert (pairs.manifest.parents, adapter.manifest.parents) == ((1,), (1, 2))
    assert pairs.manifest.participants == federation.shops
    assert pairs.manifest.privacy is not None
    mechanisms = [entry["name"] for entry in pairs.manifest.privacy["mechanisms"]]
    assert mechanisms == ["dp-sgd", "item-counts", "pair-sums"]
    assert pairs.manifest.statistics["noise_std"] > 0
    for shop in federation.shops:
        budget = federation.budget(shop)
        assert (budget["releases"], budget["runs"], budget["uncommitted"]) == (3, 1, 0)
        assert 39 < budget["epsilon"] <= 40
        assert federation.current(shop) == {"counts": 1, "pairs": 2, "adapter": 3}


def test_a_shop_serves_what_the_others_buy_together(federation: Federation) -> None:
    shop = federation.shops[0]
    data = federation.root / shop / "store"
    data.mkdir()
    shutil.copy(federation.root / shop / "data" / "interactions.csv", data)
    shutil.copy(federation.catalogue, data / "items.csv")
    url = _serve(federation, shop, data)
    headers = {"X-API-Key": owner_key(data / "shop.db")}
    with httpx.Client(base_url=url, headers=headers, timeout=120) as client:
        status = _learned(client)
        assert status["adapter"] == "release 3"
        assert status["releases"] == {"counts": 1, "pairs": 2, "adapter": 3}
        assert status["own_part_of_pairs"] == "as given"
        mix = status["weights"]["discover"]
        assert mix["fused"]["pairs"] > 0.05
        assert mix["fused"]["global"] > 0.05
        assert mix["ndcg"]["pairs"] > mix["ndcg"]["ease"] + 0.2
        assert mix["ndcg"]["fused"] > max(mix["ndcg"][name] for name in mix["local"])
        asked = {"surface": "discover", "n": 10, "explain": True}
        answer = client.get("/api/recommend/u0", params=asked).json()
    reasons = [entry["explanation"] for entry in answer["items"]]
    assert any("pairs" in why["signals"] for why in reasons)
    assert any(
        "hoppers of other shops buy it together with i" in why["sentence"] for why in reasons
    )
    for entry, why in zip(answer["items"], reasons, strict=True):
        np.testing.assert_allclose(sum(why["signals"].values()), entry["score"], atol=1e-5)


def _serve(federation: Federation, shop: str, data: Path) -> str:
    """Starts `node serve` and returns its address."""
    federation.start(
        "serve",
        *("node", "serve", "--port", "0", "--store", data / "shop.db", "--data", data),
        *("--order-column", "position", "--adapter", federation.node(shop)),
    )
    found: list[str] = []

    def answers() -> bool:
        found[:] = re.findall(r"serving on (http://[\d.:]+)", federation.log("serve"))
        with suppress(httpx.TransportError):
            return bool(found) and httpx.get(f"{found[0]}/health/ready").status_code == 200
        return False

    wait_until(answers, seconds=WAIT, name=f"service: {federation.log('serve')}")
    return found[0]


def _learned(client: httpx.Client) -> dict[str, Any]:
    def status() -> dict[str, Any]:
        found: dict[str, Any] = client.get("/api/status").json()
        return found

    wait_until(lambda: status()["weights"]["discover"]["queries"] > 0, seconds=WAIT, name="weights")
    return status()
