"""A hostile shop's updates: the run goes on, and nothing of them is in the adapter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from server.coordinator.folder import ServerFolder
from server.runs.releases import ReleaseRegistry
from server.runs.training_run import TrainingRun
from tests.deploy.federations import Federation, refusals_of

pytestmark = pytest.mark.slow

ACTS = {
    "shop1": ("nan", "shape", "keys", "norm", "name", "raise"),
    "shop2": ("least", "dtype", "zeros", "replay", "replay", "honest"),
}
CODES = {
    "nan": "dtype",
    "least": "magnitude",
    "shape": "shape",
    "dtype": "dtype",
    "keys": "keys",
    "zeros": "size",
    "norm": "norm",
    "raise": "internal",
}
ROUNDS = 6


@pytest.fixture(scope="module")
def federation(make_federation: Callable[..., Federation]) -> Federation:
    sets = {"training.rounds": ROUNDS, "federation.min_replies": 1}
    found = make_federation().build(start=False, **sets)
    found.start_node("shop0")
    for shop, acts in ACTS.items():
        found.start_hostile(shop, plan={str(n): act for n, act in enumerate(acts, start=1)})
    found.run_rounds()
    return found


def test_each_bad_update_is_refused_by_its_reason_and_the_run_goes_on(
    federation: Federation,
) -> None:
    expected = {
        (number, shop, CODES[act])
        for shop, acts in ACTS.items()
        for number, act in enumerate(acts, start=1)
        if act in CODES
    }
    assert refusals_of(federation, 1) == expected | {(5, "shop2", "replayed")}
    state = TrainingRun(ServerFolder(federation.server), 1).state()
    assert (state.status, state.round) == ("finished", ROUNDS)


def test_no_secret_of_an_exception_reaches_the_server_s_files(federation: Federation) -> None:
    files = [path for path in federation.server.rglob("*") if path.is_file()]
    assert [path for path in files if b"insulin" in path.read_bytes()] == []
    assert "insulin" in (federation.node("shop1") / "node.jsonl").read_text()


def test_the_adapter_is_finite_and_bounded_and_every_node_serves_it(federation: Federation) -> None:
    registry = ReleaseRegistry(ServerFolder(federation.server))
    adapter = registry.newest()[-1]
    assert adapter.manifest.kind == "adapter"
    assert np.isfinite(list(adapter.manifest.norms.values())).all()
    assert adapter.manifest.norms["total"] < 10 * ROUNDS
    for shop in federation.shops:
        assert federation.current(shop)["adapter"] == adapter.manifest.number
