"""A clock that is an hour off, and a server whose disk is full: nothing is lost or spent twice."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from cryptography import x509

from server.coordinator.folder import ServerFolder
from server.runs.training_run import TrainingRun
from shared.flower.node.link import SignatureRefusals
from shared.keys.certificates import make_authority, make_server_certificate
from simulation.bench.deployment.processes import wait_until
from tests.deploy.faults.full_disk import Piped, fill_disk, free_disk
from tests.deploy.federations import WAIT, Federation

ROUNDS = 3
FULL = [
    f"[/v1/fleet/{path}][UnexpectedError:OperationalError] (sqlite3.OperationalError)"
    for path in ("push-messages", "send-node-heartbeat")
]
"""What the SuperLink says when its database cannot grow: a reply and a heartbeat are not stored."""


def test_certificates_are_good_for_a_clock_that_is_an_hour_off() -> None:
    authority = make_authority("test")
    for pair in (authority, make_server_certificate(authority, ["localhost"])):
        found = x509.load_pem_x509_certificate(pair.certificate)
        for hours in (-24.9, -1, 1):
            there = datetime.now(UTC) + timedelta(hours=hours)
            assert found.not_valid_before_utc < there < found.not_valid_after_utc


@pytest.mark.parametrize(
    ("ahead", "line"),
    [
        (3600, "ahead of the server's"),
        (-3600, "behind the server's"),
        (0, None),
        (-200, None),
        (3, None),
    ],
)
def test_a_refused_signature_is_explained_by_the_clock_only_where_it_is_off(
    ahead: int, line: str | None
) -> None:
    there = datetime.now(UTC) - timedelta(seconds=ahead)
    refusals = SignatureRefusals()
    headers = {"date": there.strftime("%a, %d %b %Y %H:%M:%S GMT")}
    refusals.note(httpx.Response(401, headers=headers))
    found = refusals.reason()
    assert (found is None) == (line is None)
    assert found is None or re.match(rf"clock is 3(599|60[01]) s {line}, at most 5 s", found)
    assert SignatureRefusals().reason() is None


@pytest.mark.slow
def test_a_server_whose_clock_is_off_is_named_at_its_nodes_until_it_is_set(
    make_federation: Callable[..., Federation], clock: Callable[[int], dict[str, str]]
) -> None:
    federation = make_federation(shops=("shop0",))
    federation.write_data()
    federation.init_server()
    words = ("server", "start", "--dir", federation.server)
    federation.start("server", *words, environment=clock(3600))
    wait_until(federation.answers, seconds=WAIT, name="server")
    federation.init_node("shop0")
    for seconds, line in ((3600, "behind the server's"), (-3600, "ahead of the server's")):
        clock(seconds)
        assert federation.start_node("shop0").wait(timeout=WAIT) == 1
        said = federation.log("shop0").splitlines()[-1]
        assert re.search(rf"fedprofile: clock is 3(5|6)\d\d s {line}, at most 5 s", said), said
    assert federation.budget("shop0")["epsilon"] == 0
    clock(0)
    federation.start_node("shop0")
    wait_until(lambda: federation.online() == {"shop0"}, seconds=WAIT, name="shop0")


@pytest.mark.slow
def test_a_run_goes_on_without_a_shop_whose_clock_jumps_and_after_a_full_disk(
    make_federation: Callable[..., Federation], clock: Callable[[int], dict[str, str]]
) -> None:
    federation = make_federation()
    sets = {"training.rounds": ROUNDS, "federation.min_replies": 2}
    federation.write_data()
    federation.init_server(**sets)
    server = Piped(federation, "server", "server", "start", "--dir", federation.server)
    wait_until(federation.answers, seconds=WAIT, name="server")
    for shop in federation.shops:
        federation.init_node(shop)
    process = federation.start_node("shop1", **clock(3600))
    assert process.wait(timeout=WAIT) == 1
    said = federation.log("shop1").splitlines()[-1]
    assert re.search(r"fedprofile: clock is 36\d\d s ahead of the server's, at most", said), said
    federation.start_node("shop1", **clock(0))
    federation.start_node("shop0")
    federation.start_hostile("shop2", plan={"2": "hold-training"})
    wait_until(lambda: len(federation.online()) == 3, seconds=WAIT, name="nodes")

    run = TrainingRun(ServerFolder(federation.server), 1)
    command = Piped(federation, "run", "server", "run", "--dir", federation.server)
    held = federation.node("shop2") / "waiting"
    wait_until(held.exists, seconds=WAIT, name="training of round 2")
    wait_until(lambda: federation.budget("shop1")["releases"] == 3, seconds=WAIT, name="its update")
    fill_disk(federation, "run", "server")  # within round 2
    (federation.node("shop2") / "go").touch()
    wait_until(
        lambda: all(x in server.said() for x in FULL), seconds=WAIT, name="a write that fails"
    )
    assert run.state().round == 1  # the last whole checkpoint
    free_disk(federation, *federation.processes)
    output = command.ended(seconds=WAIT)
    assert "Traceback" not in output, output
    if command.process.returncode:  # it ended, or it waited until there was room
        assert command.process.returncode == 2, output
        assert output.splitlines()[-1].startswith("fedprofile: ")
        assert "cannot be written" in output
        federation.resume_rounds()
    assert (run.state().status, run.state().round) == ("finished", ROUNDS)
    for shop in federation.shops:
        budget = federation.budget(shop)
        assert 3 <= budget["releases"] <= ROUNDS + 1, shop  # what was sent again cost nothing
        assert budget["epsilon"] <= 8.0
        assert budget["uncommitted"] == 0
        assert federation.current(shop) == {"counts": 1, "adapter": 2}

    clock(3600)  # the clock of a node that runs
    assert federation.processes["shop1"].wait(timeout=WAIT) == 1, federation.log("shop1")
    assert "fedprofile: clock is 36" in federation.log("shop1").splitlines()[-1]
    federation.start_node("shop1", **clock(0))
    wait_until(lambda: "shop1" in federation.online(), seconds=WAIT, name="shop1")
