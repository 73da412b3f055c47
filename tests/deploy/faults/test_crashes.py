"""Processes that die: the run goes on from its checkpoint, and no budget is spent twice."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from server.coordinator.folder import ServerFolder
from server.runs.training_run import TrainingRun
from simulation.bench.deployment.processes import wait_until
from tests.deploy.federations import WAIT, Federation

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def federation(make_federation: Callable[..., Federation]) -> Federation:
    split = {"privacy.pairs_share": 0.4, "privacy.adapter_share": 0.4}
    return make_federation().build(start=False, **split, **{"training.rounds": 3})


def test_a_run_survives_the_server_within_and_between_rounds_and_a_node_while_training(
    federation: Federation,
) -> None:
    for shop in ("shop0", "shop1"):
        federation.start_node(shop)
    federation.start_hostile("shop2", plan={"1": "hold-training"})
    wait_until(lambda: len(federation.online()) == 3, seconds=WAIT, name="nodes")
    run = TrainingRun(ServerFolder(federation.server), 1)
    first = federation.start("run", "server", "run", "--dir", federation.server)
    held = federation.node("shop2") / "waiting"
    wait_until(held.exists, seconds=WAIT, name="training of shop2")
    wait_until(lambda: federation.budget("shop0")["releases"] == 3, seconds=WAIT, name="round 1")
    federation.kill("server")  # within round 1: shop0 has answered, shop2 trains
    federation.kill("shop2")  # while training: reserved, not released
    federation.start_server()
    federation.start_node("shop2")
    wait_until(lambda: run.state().round >= 1, seconds=WAIT, name="end of round 1")
    assert first.poll() is None, federation.log("run")
    federation.kill("run")  # the coordinator's own process, between rounds
    federation.kill("server", signal.SIGTERM)
    assert run.state().status == "running"
    federation.start_server()
    federation.resume_rounds()
    state = run.state()
    assert (state.status, state.round) == ("finished", 3)
    assert state.attempts == 2
    for shop, releases in (("shop0", 5), ("shop1", 5), ("shop2", 4)):
        budget = federation.budget(shop)
        assert budget["releases"] == releases  # counts, pairs and rounds, each once
        assert budget["runs"] == 1
        assert 7.9 < budget["epsilon"] <= 8.0
        assert federation.current(shop) == {"counts": 1, "pairs": 2, "adapter": 3}
    assert federation.budget("shop2")["uncommitted"] == 1
