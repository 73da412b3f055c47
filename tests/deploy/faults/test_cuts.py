"""What may happen to one run on its way: half a reply, a cut network, a gigabyte, a late shop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from server.coordinator.folder import ServerFolder
from server.runs.releases import ReleaseRegistry
from server.runs.training_run import TrainingRun
from shared.flower.server.superlink import MAX_RUNTIME_BODY_BYTES
from simulation.bench.deployment.processes import wait_until
from tests.deploy.faults.relay import Relay
from tests.deploy.federations import WAIT, Federation, refusals_of

pytestmark = pytest.mark.slow
ROUNDS, TIMEOUT = 5, 240
CUT = 12.0
"""Seconds without a network: a minute would be the same to Flower, whose calls end after 5 s."""
MOST_MEMORY = 900_000_000
"""Bytes; a gigabyte that is built takes twice its size on top."""
CLOSED = (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError)
"""What a client sees whose connection is closed while it still writes."""
LIMB = "shop1"  # is killed while it sends
CABLE = "shop2"  # joins late, through the relay


@pytest.fixture(scope="module")
def relay(make_federation: Callable[..., Federation]) -> Iterator[tuple[Federation, Relay]]:
    found = make_federation()
    found.write_data()
    sets = {"training.rounds": ROUNDS, "federation.min_replies": 1, "nodes": 2}
    found.init_server(**sets, **{"federation.round_timeout": TIMEOUT})
    found.start_server()
    cable = Relay(found.port)
    for shop in found.shops:
        found.init_node(shop, through=cable.port if shop == CABLE else None)
    found.start_node("shop0")
    found.start_hostile(LIMB, plan={"1": "gigabyte", "2": "norm", "3": "hold-sending"})
    yield found, cable
    cable.close()


def peaks(pid: int) -> dict[int, int]:
    """Peak resident memory of a process and of each of its children by process id, bytes."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    texts = {found.pid: Path(f"/proc/{found.pid}/status").read_text() for found in processes}
    return {
        found: int(text.split("VmHWM:")[1].split()[0]) * 1024
        for found, text in texts.items()
        if "VmHWM" in text
    }


def test_a_request_of_a_gigabyte_is_refused_before_it_is_in_memory(
    relay: tuple[Federation, Relay],
) -> None:
    federation, _ = relay
    server = federation.processes["server"].pid
    before = peaks(server)
    url = f"https://127.0.0.1:{federation.port}/v1"
    authority = str(ServerFolder(federation.server).authority)
    kind = {"Content-Type": "application/protobuf"}

    def zeros() -> Iterator[bytes]:
        for _ in range(1000):
            yield bytes(1_000_000)

    def post(path: str, body: Iterator[bytes] | bytes) -> None:
        try:
            options = {"headers": kind, "verify": authority, "timeout": 60}
            assert httpx.post(f"{url}/{path}", content=body, **options).status_code == 413
        except CLOSED:
            pass

    def grown() -> int:
        after = peaks(server)
        assert set(after) == set(before)
        return max(size - before[found] for found, size in after.items())

    for path in ("fleet/push-object", "control/start-run"):
        post(path, zeros())
        post(path, bytes(20_000_000))
    small = httpx.post(
        f"{url}/fleet/push-object", content=b"", headers=kind, verify=authority, timeout=60
    )
    assert small.status_code == 401  # it answers, and not because of the size
    assert grown() < 100_000_000
    post("runtime/push-object", zeros())
    assert grown() < 100_000_000 + MAX_RUNTIME_BODY_BYTES


def test_a_run_goes_on_over_a_gigabyte_a_kill_while_sending_a_late_shop_and_a_cut_network(
    relay: tuple[Federation, Relay],
) -> None:
    federation, cable = relay
    run = TrainingRun(ServerFolder(federation.server), 1)
    process = federation.start("run", "server", "run", "--dir", federation.server)
    wait_until(
        lambda: (run.path / "state.json").exists() and run.state().round >= 1,
        seconds=WAIT,
        name="round 1",
    )
    assert max(peaks(federation.processes["server"].pid).values()) < MOST_MEMORY
    assert max(peaks(process.pid).values()) < MOST_MEMORY
    federation.start_hostile(CABLE, plan={"4": "hold-training"})  # late, within the run
    sending = federation.node(LIMB) / "sending"
    wait_until(sending.exists, seconds=WAIT, name="half a reply")
    wait_until(lambda: CABLE in federation.online(), seconds=WAIT, name="the late shop")
    federation.kill(LIMB)
    wait_until(lambda: run.state().round >= 3, seconds=WAIT, name="end of round 3")
    wait_until(
        (federation.node(CABLE) / "waiting").exists, seconds=WAIT, name="training of round 4"
    )
    cable.cut()
    time.sleep(CUT)
    cable.mend()
    (federation.node(CABLE) / "go").touch()
    assert process.wait(timeout=2 * WAIT) == 0, federation.log("run")

    refused = refusals_of(federation, 1)
    cut = {entry for entry in refused if entry[:2] == (4, CABLE)}
    assert cut <= {(4, CABLE, "node-error")}  # unless it was back before the server missed it
    assert refused - cut == {(1, LIMB, "size"), (2, LIMB, "norm"), (3, LIMB, "node-error")}
    assert run.state().status == "finished"
    newest = ReleaseRegistry(ServerFolder(federation.server)).newest()[-1].manifest
    assert CABLE in newest.participants
    assert newest.norms["total"] < 1000
    for shop, releases in (("shop0", ROUNDS + 1), (LIMB, 4), (CABLE, 2)):
        budget = federation.budget(shop)
        assert budget["releases"] == releases, shop
        assert budget["uncommitted"] == 0
        assert budget["epsilon"] <= 8.0
    for shop in ("shop0", CABLE):
        assert federation.current(shop) == {"counts": 1, "adapter": 2}
