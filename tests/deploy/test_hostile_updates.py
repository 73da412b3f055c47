"""A hostile shop's updates: the run goes on, and nothing of them is in the adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from federations import Federation

from server.deploy.folder import ServerFolder
from server.deploy.registry import Registry
from server.deploy.run_folder import Run

pytestmark = pytest.mark.slow

ACTS = ("nan", "infinity", "shape", "dtype", "keys", "norm", "replay", "replay", "name", "zeros")
PLAN = {str(number): act for number, act in enumerate(ACTS, start=1)} | {"11": "raise"}
CODES = {
    "nan": "non-finite",
    "infinity": "non-finite",
    "shape": "shape",
    "dtype": "dtype",
    "keys": "keys",
    "zeros": "shape",
    "raise": "node-error",
}


@pytest.fixture(scope="module")
def federation(make_federation: Callable[..., Federation]) -> Iterator[Federation]:
    found = make_federation().build(
        start=False, **{"training.rounds": len(PLAN), "federation.round_timeout": 120}
    )
    for shop in found.shops[:2]:
        found.start_node(shop)
    found.start_hostile("shop2", plan=PLAN)
    found.run_rounds()
    return found


def refusals(federation: Federation) -> dict[int, tuple[str, str]]:
    from server.checkpoint import Checkpoints

    run = Run(ServerFolder(federation.server), 1)
    plan, _ = run.federation()
    state = Checkpoints(run.path / "checkpoints", digest=plan.digest()).load(resume=True)
    assert state is not None
    return {refusal.round: (refusal.shop, refusal.code) for refusal in state.refusals}


def test_each_bad_update_is_refused_by_its_reason_and_the_run_goes_on(
    federation: Federation,
) -> None:
    found = refusals(federation)
    expected = {int(n): ("shop2", CODES[act]) for n, act in PLAN.items() if act in CODES}
    expected[8] = ("shop2", "replayed")
    raised = found.pop(11)
    del expected[11]
    assert found == expected
    assert raised[1] == "node-error"
    state = Run(ServerFolder(federation.server), 1).state()
    assert (state.status, state.round) == ("finished", len(PLAN))


def test_no_secret_of_an_exception_reaches_the_server_s_files(federation: Federation) -> None:
    files = [path for path in federation.server.rglob("*") if path.is_file()]
    held = [path.name for path in files if b"insulin" in path.read_bytes()]
    assert held in ([], ["superlink.db"])  # Flower's own text; the honest app never raises


def test_the_adapter_is_finite_and_bounded_and_every_node_serves_it(federation: Federation) -> None:
    registry = Registry(ServerFolder(federation.server))
    adapter = registry.newest()[-1]
    assert adapter.manifest.kind == "adapter"
    assert np.isfinite(list(adapter.manifest.norms.values())).all()
    assert adapter.manifest.norms["total"] < 10 * len(PLAN)
    for shop in federation.shops:
        assert federation.current(shop)["adapter"] == adapter.manifest.number
