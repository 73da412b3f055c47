"""Whatever fails or lies while shops add up under masks: one sum at the most, paid for once.

One federation serves all tests, in their order: each begins a run of its own.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping

import pytest

from server.coordinator.folder import ServerFolder
from server.runs.releases import ReleaseRegistry
from server.runs.training_run import list_runs
from simulation.bench.deployment.processes import wait_until
from tests.deploy.faults.full_disk import Piped, fill_disk
from tests.deploy.faults.hostile_server import ACTS, ANSWERS, MODULE
from tests.deploy.federations import WAIT, Federation, refusals_of

pytestmark = pytest.mark.slow
SHOPS = ("shop0", "shop1", "shop2", "shop3")
"""One may be missing and one may help the server: three make a sum."""
LONG = 4 * WAIT
"""Seconds to wait for what a whole run leads to; only a failure takes as long."""
DYING, WITNESS = ("shop1", "shop2"), "shop3"
SETS = {
    "privacy.epsilon": 1.0,
    "training.rounds": 1,
    "federation.round_timeout": LONG,
    "wait": LONG,
}
STOPS: tuple[tuple[tuple[str, str], tuple[str, str], str, tuple[str, ...]], ...] = (
    (("keys", "die-before"), ("keys", "die-after"), "", ()),
    (("shares", "die-before"), ("shares", "die-after"), "shares", ("run",)),
    (
        ("input counts", "die-before"),
        ("confirm counts", "die-after"),
        "confirm counts",
        ("run", "server"),
    ),
)
"""Where each of two shops dies; the message that a third one answers meanwhile, and what is killed
at the server then. Where nothing is, the run ends by itself."""


@pytest.fixture(scope="module")
def federation(make_federation: Callable[..., Federation]) -> Federation:
    federation = make_federation(shops=SHOPS)
    federation.build(start=False, **SETS)
    start(federation, *SHOPS)
    wait_until(lambda: federation.online() == set(SHOPS), seconds=WAIT, name="nodes")
    federation.sign_roster()
    return federation


def start(federation: Federation, *shops: str, **environment: str) -> None:
    for shop in shops:
        federation.start_hostile(shop, plan={}, program="secure_node", **environment)


def plan_acts(federation: Federation, acts: Mapping[str, Mapping[str, str]]) -> None:
    """Says what shops do at which of their next messages; see `secure_acts`."""
    for shop, plan in acts.items():
        (federation.node(shop) / "hostile.json").write_text(json.dumps(plan))


def wait_until_held(federation: Federation, shop: str) -> None:
    held = federation.node(shop) / "waiting"
    wait_until(held.exists, seconds=LONG, name=f"{shop} at its message")


def let_go(federation: Federation, shop: str) -> None:
    (federation.node(shop) / "go").touch()


def lines(federation: Federation) -> dict[str, Counter[str]]:
    """How many lines of each kind stand in each ledger."""
    return {shop: Counter(str(body["kind"]) for body in federation.bodies(shop)) for shop in SHOPS}


def paid(federation: Federation, before: dict[str, Counter[str]]) -> dict[str, int]:
    """Releases of each shop since then; each was committed once and is in one set at the most."""
    now, found = lines(federation), {}
    for shop in SHOPS:
        new = now[shop] - before[shop]
        assert new["reservation"] <= new["round"] == new["commit"], (shop, new)
        assert new["opened"] <= new["set"] <= new["round"], (shop, new)
        found[shop] = new["round"]
    return found


def confirmed(federation: Federation, release: str) -> int:
    """Sets of a release, of all runs and shops."""
    bodies = (body for shop in SHOPS for body in federation.bodies(shop))
    return sum(body["kind"] == "set" and body["release"] == release for body in bodies)


def releases(federation: Federation, after: int) -> list[tuple[str, tuple[str, ...]]]:
    """Kind and participants of all releases after a number."""
    registry = ReleaseRegistry(ServerFolder(federation.server))
    found = (registry.read(number).manifest for number in registry.numbers() if number > after)
    return [(manifest.kind, manifest.participants) for manifest in found]


def last_release(federation: Federation) -> int:
    return max(ReleaseRegistry(ServerFolder(federation.server)).numbers(), default=0)


def last_run(federation: Federation) -> int:
    return list_runs(ServerFolder(federation.server))[-1].number


def run_hostile(federation: Federation, *acts: str) -> tuple[int, str, Counter[tuple[str, str]]]:
    """Runs with a changed server; returns status, last line, and act and code of each answer."""
    name = f"hostile-{acts[0]}"
    answers = federation.root / f"{name}.answers"
    process = federation.start(
        name,
        *("server", "run", "--dir", federation.server),
        command=[sys.executable, "-m", MODULE],
        environment={ACTS: ",".join(acts), ANSWERS: str(answers)},
    )
    status = process.wait(timeout=LONG)
    told = answers.read_text().splitlines() if answers.exists() else []
    codes = Counter((act, code) for act, _, code in (line.split() for line in told))
    return status, federation.log(name).splitlines()[-1], codes


def run(
    federation: Federation, acts: Mapping[str, Mapping[str, str]], *, command: str = "resume"
) -> None:
    """Starts `server run` or `resume` while shops do what they are to do."""
    plan_acts(federation, acts)
    federation.start("run", "server", command, "--dir", federation.server)


def stop(
    federation: Federation,
    first: tuple[str, str],
    second: tuple[str, str],
    held: str,
    killed: tuple[str, ...],
) -> None:
    """Lets two shops die in a run, and the server or the run's process, and starts them again."""
    acts = {DYING[0]: dict([first]), DYING[1]: dict([second])}
    held_acts = {WITNESS: {held: "hold"}} if held else {}
    begins = (first, second, held, killed) == STOPS[0]
    run(federation, acts | held_acts, command="run" if begins else "resume")
    for shop in DYING:
        federation.processes[shop].wait(timeout=LONG)
    if held:
        wait_until_held(federation, WITNESS)
        for name in killed:
            federation.kill(name)
        let_go(federation, WITNESS)
    else:
        assert federation.processes["run"].wait(timeout=LONG) == 1
        told = federation.log("run").splitlines()[-1]
        assert "=2 must be at least 3, the least number of shops in a sum" in told
    if "server" in killed:
        federation.start_server()
    start(federation, *DYING)


def stop_by_full_disk(federation: Federation) -> None:
    """Fills the server's disk before it keeps a sum that shops are to confirm; a shop dies too."""
    before = confirmed(federation, "adapter-1")
    plan_acts(federation, {DYING[1]: {"input adapter-1": "die-after"}})
    plan_acts(federation, {WITNESS: {"input adapter-1": "hold"}})
    command = Piped(federation, "run", "server", "resume", "--dir", federation.server)
    federation.processes[DYING[1]].wait(timeout=LONG)
    wait_until_held(federation, WITNESS)
    fill_disk(federation, "run")
    let_go(federation, WITNESS)
    output = command.ended(seconds=LONG)
    assert command.process.returncode == 2, output
    assert "Traceback" not in output
    assert re.search("^fedprofile: .* cannot be written.*; free some", output.splitlines()[-1])
    assert confirmed(federation, "adapter-1") == before
    start(federation, DYING[1])


def test_other_sums_false_shares_and_a_full_disk_leave_the_one_sum_that_was_signed(
    federation: Federation,
) -> None:
    before, last = lines(federation), last_release(federation)
    liar = {"keys": "keep-keys", "open counts": "false-shares"}
    plan_acts(federation, {"shop1": {"confirm adapter-1": "full-disk"}, "shop3": liar})
    status, _, codes = run_hostile(
        federation, "sum-of-one", "second-set", "few-signatures", "other-question"
    )
    assert codes == {
        ("sum-of-one", "privacy"): 4,
        ("second-set", "privacy"): 3,
        ("few-signatures", "privacy"): 4,
        ("other-question", "privacy"): 4,
    }
    assert status == 0  # the first set stands, and opens
    assert refusals_of(federation, last_run(federation)) == {
        (0, "shop3", "protocol"),
        (1, "shop1", "privacy"),
    }
    assert releases(federation, last) == [("counts", SHOPS), ("adapter", SHOPS)]
    assert paid(federation, before) == dict.fromkeys(SHOPS, 2)


def test_another_question_to_one_shop_opens_nothing_and_replayed_keys_count_for_nothing(
    federation: Federation,
) -> None:
    before, last = lines(federation), last_release(federation)
    plan_acts(federation, {"shop3": {"keys": "old-keys"}})
    status, told, _ = run_hostile(federation, "one-otherwise")
    assert status == 1
    assert "shops that signed this set=2 must be at least 3" in told
    assert (0, "shop3", "protocol") in refusals_of(federation, last_run(federation))
    assert releases(federation, last) == []
    assert paid(federation, before) == dict.fromkeys(SHOPS[:3], 2) | {"shop3": 0}
    assert "is abandoned after round 0" in federation.abandon_run().stdout


def test_shops_and_servers_that_die_at_any_message_end_in_one_sum_paid_once(
    federation: Federation,
) -> None:
    before, last = lines(federation), last_release(federation)
    for first, second, held, killed in STOPS:
        stop(federation, first, second, held, killed)
        assert releases(federation, last) == []
    number = last_run(federation)
    stop_by_full_disk(federation)
    assert releases(federation, last) == []
    run(federation, {DYING[0]: {"open adapter-1": "die-after"}})
    assert federation.processes["run"].wait(timeout=LONG) == 0
    start(federation, DYING[0])
    present = ("shop0", *DYING[1:], WITNESS)  # in the sum of counts that was fixed
    assert releases(federation, last) == [("counts", present), ("adapter", SHOPS)]
    assert last_run(federation) == number
    assert paid(federation, before) == dict.fromkeys(SHOPS, 2) | {DYING[0]: 1}


def test_a_full_disk_a_folder_put_back_and_a_clock_that_is_off_release_nothing(
    federation: Federation, clock: Callable[[int], dict[str, str]]
) -> None:
    last = last_release(federation)
    acts = {"input counts": "hold", "input adapter-1": "die-before"}
    full = {"input counts": "full-disk"}
    plan_acts(federation, {"shop0": full, "shop1": acts, "shop2": {"input adapter-1": "hold"}})
    run(federation, {}, command="run")
    wait_until_held(federation, "shop1")
    backup = federation.root / "backup"
    shutil.copytree(federation.node("shop1"), backup)  # keys and shares, no input
    let_go(federation, "shop1")
    federation.processes["shop1"].wait(timeout=LONG)
    wait_until_held(federation, "shop2")
    federation.kill("run")
    let_go(federation, "shop2")
    shutil.rmtree(federation.node("shop1"))
    shutil.copytree(backup, federation.node("shop1"))
    old = lines(federation)["shop1"]

    start(federation, "shop1", **clock(3600))
    assert federation.processes["shop1"].wait(timeout=LONG) == 1
    assert "clock is 36" in federation.log("shop1").splitlines()[-1]
    start(federation, "shop1", **clock(0))
    federation.resume_rounds()
    number = last_run(federation)
    refused = {(0, "shop0", "privacy"), (1, "shop1", "privacy")}
    assert refusals_of(federation, number) == refused
    without = tuple(shop for shop in SHOPS if shop != "shop1")
    assert releases(federation, last) == [("counts", SHOPS[1:]), ("adapter", without)]
    new = lines(federation)["shop1"] - old
    assert not new.keys() & {"reservation", "round", "commit", "set", "opened"}


def test_two_rosters_make_no_sum(federation: Federation) -> None:
    federation.make_roster("--max-missing", 0)
    federation.accept_roster("shop0", "shop2")
    before, last = lines(federation), last_release(federation)
    status, told, _ = run_hostile(federation, "unsigned-roster")
    assert status == 1
    assert "shops that sent keys=0 must be at least 4" in told
    assert re.search("first refusal: shop[0-3]: privacy", told)
    assert releases(federation, last) == []
    assert paid(federation, before) == dict.fromkeys(SHOPS, 0)
