"""A node whose whole folder comes back from a backup, among real processes."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from client.deploy.folder import NodeFolder
from client.deploy.node_ledger import ledger_files
from client.deploy.setup import make_node_key
from server.coordinator.folder import ServerFolder
from server.coordinator.ledger_receipts import last_receipt, receipts_file
from server.runs.releases import ReleaseRegistry
from server.runs.supervision import server_status
from shared.privacy.ledger.reporting.evidence import EvidenceSources
from shared.privacy.ledger.reporting.verify import verify_all
from shared.protocol.server_key import pinned_key
from simulation.bench.deployment.processes import wait_until
from tests.deploy.federations import WAIT, Federation, refusals_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def federation(make_federation: Callable[..., Federation]) -> Federation:
    sets = {"privacy.epsilon": 2.0, "training.rounds": 1, "federation.min_replies": 1, "nodes": 2}
    return make_federation(shops=("shop0", "shop1")).build(start=False, **sets)


def start(federation: Federation, *shops: str) -> None:
    for shop in shops:
        federation.start_node(shop)
    wait_until(lambda: federation.online() == set(federation.shops), seconds=WAIT, name="nodes")


def put_back(federation: Federation) -> None:
    """Ends the node, puts its whole folder back as it was after `node init`, and starts it."""
    federation.kill("shop0")
    shutil.rmtree(federation.node("shop0"))
    shutil.copytree(federation.root / "backup", federation.node("shop0"))
    wait_until(lambda: "shop0" not in federation.online(), seconds=WAIT, name="the end of shop0")
    start(federation, "shop0")


def participants(federation: Federation) -> tuple[str, ...]:
    newest = ReleaseRegistry(ServerFolder(federation.server)).newest()[-1]
    return tuple(newest.manifest.participants)


def test_a_restored_folder_releases_nothing_until_what_was_lost_is_counted(
    federation: Federation,
) -> None:
    shutil.copytree(federation.node("shop0"), federation.root / "backup")
    start(federation, "shop0", "shop1")
    federation.run_rounds()
    spent, server = federation.budget("shop0"), ServerFolder(federation.server)
    assert participants(federation) == ("shop0", "shop1")
    put_back(federation)
    ledger = ledger_files(NodeFolder(federation.node("shop0"))).ledger
    before = ledger.read_bytes()

    federation.run_rounds()
    assert participants(federation) == ("shop1",)
    refused = {code for _, shop, code in refusals_of(federation, 2) if shop == "shop0"}
    assert refused == {"privacy"}
    words = ("node", "status", "--dir", federation.node("shop0"))
    assert "releases nothing: the server signed line" in federation.run(*words).stdout
    (shown,) = (s for s in server_status(server)["shops"] if s["shop"] == "shop0")
    assert shown["refused"]["fault"] == "went back, or was rewritten"
    told = federation.run("server", "status", "--dir", federation.server).stdout
    assert "its ledger went back, or was rewritten" in told
    # The release that came to be installed is a line of its own; nothing was reserved or committed.
    assert ledger.read_bytes().startswith(before)
    assert federation.budget("shop0")["epsilon"] == 0

    done = federation.run("node", "ledger", "restore", "--dir", federation.node("shop0"))
    assert "epsilon 0 -> " in done.stdout
    assert federation.budget("shop0")["epsilon"] == spent["epsilon"]
    federation.run_rounds()  # the node runs on: nothing has to be started again
    assert participants(federation) == ("shop0", "shop1")
    after = federation.budget("shop0")
    assert after["epsilon"] > spent["epsilon"]
    assert after["releases"] == spent["releases"]
    (shown,) = (s for s in server_status(server)["shops"] if s["shop"] == "shop0")
    assert shown["refused"] is None
    receipts = receipts_file(server.receipts, "shop0")
    sources = EvidenceSources(receipts=receipts, server_key=pinned_key(ledger))
    (verdict,) = verify_all(ledger, sources)
    assert verdict.ok, verdict.fault
    assert verdict.signed is not None


def test_a_shop_that_was_here_before_is_invited_again_on_purpose_alone(
    federation: Federation,
) -> None:
    """Runs after the test above: the server has signed lines of both shops."""
    federation.kill("shop1")
    federation.run("server", "revoke", "shop1", "--dir", federation.server)
    key = make_node_key(federation.root / "new-shop1")  # a registration takes no key twice
    words = ("server", "invite", "shop1", "--dir", federation.server, "--key", key)
    done = federation.run(*words, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "shop=shop1 was here before" in done.stderr
    assert str(receipts_file(ServerFolder(federation.server).receipts, "shop1")) in done.stderr
    federation.run(*words, "--again")
    invited = (federation.server / "shops.json").read_text()
    last = last_receipt(ServerFolder(federation.server).receipts, "shop1")
    assert last is not None
    assert last.head in invited
