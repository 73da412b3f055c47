"""A run of real processes whose sums come by secure aggregation."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from client.deploy.folder import NodeFolder
from client.deploy.roster import signed_roster as roster_of_node
from server.coordinator.folder import ServerFolder
from server.runs.releases import ReleaseRegistry
from shared.privacy.ledger.reporting.evidence import Evidence
from shared.privacy.ledger.reporting.verify import verify
from tests.deploy.federations import Federation

pytestmark = pytest.mark.slow
SHOPS = ("shop0", "shop1", "shop2", "shop3")
"""One may be missing and one may help the server."""


@pytest.fixture(scope="module")
def trained(
    make_federation: Callable[..., Federation],
) -> tuple[Federation, str]:
    federation = make_federation(shops=SHOPS)
    pairs = {"privacy.pairs_share": 0.2, "privacy.adapter_share": 0.6}
    federation.build(**pairs)
    federation.sign_roster()
    return federation, federation.run_rounds().stdout


def test_noise_is_shared_where_all_have_signed(trained: tuple[Federation, str]) -> None:
    federation, output = trained
    assert "of sums over at least 3 of 4 shops; the noise is shared under the roster" in output
    assert "run 1 finished after 2 rounds; releases 1, 2, 3" in output
    for shop in SHOPS:
        assert federation.current(shop) == {"counts": 1, "pairs": 2, "adapter": 3}
        release = ReleaseRegistry(ServerFolder(federation.server)).read(1)
        assert release.manifest.participants == SHOPS


def test_every_ledger_says_who_was_in_each_sum(trained: tuple[Federation, str]) -> None:
    federation, _ = trained
    for shop in SHOPS:
        kinds = [body["kind"] for body in federation.bodies(shop)]
        wanted = {
            "aggregation": 1,
            "reservation": 1,
            "round": 4,
            "commit": 4,
            "set": 4,
            "opened": 4,
        }
        assert {kind: kinds.count(kind) for kind in wanted} == wanted
        verdict = verify(federation.ledger(shop), Evidence())
        assert verdict.ok, verdict.fault
        roster = roster_of_node(NodeFolder(federation.node(shop)))
        assert roster is not None
        mechanisms = next(b for b in federation.bodies(shop) if b["kind"] == "reservation")
        assert {m["shared_by"] for m in mechanisms["mechanisms"]} == {2}


def test_no_secret_outlives_the_run(trained: tuple[Federation, str]) -> None:
    federation, _ = trained
    for shop in SHOPS:
        (run,) = NodeFolder(federation.node(shop)).sums.iterdir()
        assert sorted(path.name for path in run.iterdir()) == ["ended", "terms"]


def test_status_and_report_state_both_guarantees(trained: tuple[Federation, str]) -> None:
    federation, _ = trained
    done = federation.run("privacy", "status", federation.ledger("shop1"))
    assert "own" in done.stdout
    assert "if all" in done.stdout


def test_the_culprit_is_looked_for_at_a_price_that_is_printed_first(
    trained: tuple[Federation, str],
) -> None:
    federation, _ = trained
    words = ("server", "run", "--dir", federation.server, "--noise", "shop", "--only", "adapter")
    done = federation.run(*words)
    first = done.stdout.splitlines()[0]
    assert first == (
        "run 2: epsilon 8 at delta 1e-06 in each shop; each shop adds all of the noise"
    )
    assert "run 2 finished" in done.stdout
    assert [b["kind"] for b in federation.bodies("shop0")].count("aggregation") == 1
