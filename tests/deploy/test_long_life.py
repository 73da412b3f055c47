"""Shops that join late, spend their budget, break their data or come back old: the run goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from client.deploy.folder import NodeFolder
from server.coordinator.folder import ServerFolder
from server.runs.releases import ReleaseRegistry
from server.runs.training_run import TrainingRun
from shared.settings.service_file import write_settings
from simulation.bench.deployment.processes import wait_until
from tests.deploy.federations import WAIT, Federation, refusals_of

pytestmark = pytest.mark.slow


def test_late_join_spent_budget_and_broken_data(make_federation: Callable[..., Federation]) -> None:
    federation = make_federation()
    sets = {"training.rounds": 3, "nodes": 2, "federation.min_replies": 1}
    federation.write_data()
    federation.init_server(**sets)
    federation.start_server()
    for shop, epsilon in (("shop0", 40.0), ("shop1", 11.0), ("shop2", 40.0)):
        federation.init_node(shop, epsilon=epsilon)
    for shop in ("shop0", "shop1"):
        federation.start_node(shop)
    wait_until(lambda: len(federation.online()) == 2, seconds=WAIT, name="two nodes")
    federation.run_rounds()
    folder = ServerFolder(federation.server)
    assert ReleaseRegistry(folder).newest()[-1].manifest.participants == ("shop0", "shop1")
    assert federation.current("shop2") == {}

    old = federation.root / "old-adapters"
    shutil.copytree(federation.node("shop0") / "adapters", old)
    spent = federation.budget("shop0")["epsilon"]
    data = federation.root / "shop0" / "data" / "interactions.csv"
    data.write_text(data.read_text().replace("item_id", "sku", 1))  # columns changed
    federation.start_node("shop2")  # joins late
    wait_until(lambda: len(federation.online()) == 3, seconds=WAIT, name="shop2")
    federation.run_rounds()
    refused = refusals_of(federation, 2)
    assert {(shop, code) for _, shop, code in refused} >= {("shop0", "data"), ("shop1", "privacy")}
    assert federation.budget("shop0")["epsilon"] == spent
    assert federation.budget("shop1")["epsilon"] <= 11.0
    assert TrainingRun(folder, 2).state().status == "finished"
    assert "shop2" in ReleaseRegistry(folder).newest()[-1].manifest.participants
    for shop in federation.shops:
        assert federation.current(shop) == {"counts": 3, "adapter": 4}

    federation.kill("shop0")  # and comes back from an old backup
    shutil.rmtree(federation.node("shop0") / "adapters")
    shutil.copytree(old, federation.node("shop0") / "adapters")
    wait_until(lambda: "shop0" not in federation.online(), seconds=WAIT, name="the end of shop0")
    federation.start_node("shop0")
    wait_until(lambda: len(federation.online()) == 3, seconds=WAIT, name="shop0")
    assert federation.current("shop0") == {"counts": 1, "adapter": 2}
    _send_releases(federation)


def _send_releases(federation: Federation) -> None:
    """Sends the newest release to who missed it, then an older one to who may not want it."""
    words = ("server", "releases", "--dir", federation.server, "send")
    done = federation.run(*words, 4)
    assert done.stdout.splitlines() == [f"release 4 at shop{n}: installed" for n in range(3)]
    assert federation.current("shop0") == {"adapter": 4}  # not the old run's counts beside it
    done = federation.run(*words, 2, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "release=2 is older than 4; nodes refuse it unless it is sent --again" in done.stderr
    settings = NodeFolder(federation.node("shop1")).settings()
    allowing = settings.model_copy(update={"allow_older": True})
    write_settings(NodeFolder(federation.node("shop1")).config, allowing)
    done = federation.run(*words, 2, "--again")
    answers = {"shop0": "model", "shop1": "installed", "shop2": "model"}
    expected = [f"release 5 at {shop}: {answer}" for shop, answer in answers.items()]
    assert done.stdout.splitlines() == expected
    for shop, number in (("shop0", 4), ("shop1", 5), ("shop2", 4)):
        assert federation.current(shop)["adapter"] == number
    assert "release 2 again" in federation.run(*words[:-1]).stdout
