"""Real processes, real kills and real disks that are full: nothing spent twice, nothing lost."""

import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from shared.errors import PrivacyError
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.reporting.evidence import EvidenceSources
from shared.privacy.ledger.reporting.status import read_ledger
from shared.privacy.ledger.reporting.verify import verify_all
from tests import ROOT
from tests.shared.privacy.ledger.shop_ledgers import LIMITS, full_run, open_ledger, request

FORK = multiprocessing.get_context("fork")
LONG = (Mechanism("dp-sgd", 60.0, 1.0, 2000, 0.01),)


def spend_rounds(path: Path, rounds: range, acknowledge: Connection | None = None) -> None:
    """Reserves and commits whatever is not spent yet, and says so after each."""
    ledger = Ledger.open(path)
    for number in rounds:
        try:
            reservation = ledger.reserve(request(number, plan=LONG))
        except PrivacyError:
            continue
        if acknowledge is not None:
            acknowledge.send(number)
        ledger.commit(reservation, f"{number:064x}")


def drawn(path: Path) -> list[int]:
    chain, _ = read_ledger(path)
    return sorted(body.round for body in chain.bodies.values())


def test_processes_on_one_ledger_spend_every_round_once(tmp_path) -> None:
    open_ledger(tmp_path).reserve(request(1, plan=LONG))
    path = tmp_path / "north.jsonl"
    pipes = [FORK.Pipe(duplex=False) for _ in range(4)]
    children = [
        FORK.Process(target=spend_rounds, args=(path, range(2, 32), send)) for _, send in pipes
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    admitted: list[int] = []
    for receive, send in pipes:
        send.close()
        with suppress(EOFError):
            while True:
                admitted.append(receive.recv())
    assert Counter(admitted) == Counter(range(2, 32))
    assert drawn(path) == list(range(1, 32))
    assert verify_all(tmp_path, EvidenceSources())[0].ok


def reserve_run(folder: Path, run: str, sent: Connection) -> None:
    loud = (Mechanism("dp-sgd", 1.0, 1.0, 1, 0.01),)
    try:
        asked = request(run=run, plan=loud, planning="planned")
        Ledger.open(folder / "north.jsonl").reserve(asked)
        sent.send(True)
    except PrivacyError:
        sent.send(False)


def test_processes_cannot_pass_the_limit_together(tmp_path) -> None:
    open_ledger(tmp_path)
    receive, send = FORK.Pipe(duplex=False)
    children = [FORK.Process(target=reserve_run, args=(tmp_path, f"r{i}", send)) for i in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert sum(receive.recv() for _ in children) == 2  # three at mu 1 each cost 9.3
    assert Ledger.open(tmp_path / "north.jsonl").spent().bound <= 8.0


def make_ledger(folder: Path) -> None:
    open_ledger(folder).reserve(request(os.getpid(), run=str(os.getpid())))


def test_processes_that_create_one_ledger_share_one_key_and_genesis(tmp_path) -> None:
    children = [FORK.Process(target=make_ledger, args=(tmp_path,)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 4
    assert len(read_ledger(tmp_path / "north.jsonl")[0].bodies) == 4


@pytest.mark.slow
def test_200_kills_lose_nothing_and_spend_nothing_twice(tmp_path) -> None:
    kill_children(tmp_path, kills=200)


def test_a_few_kills_lose_nothing_and_spend_nothing_twice(tmp_path) -> None:
    kill_children(tmp_path, kills=15)


def kill_children(folder: Path, *, kills: int) -> None:
    open_ledger(folder).reserve(request(1, plan=LONG))
    path, rng, acknowledged = folder / "north.jsonl", random.Random(5), [1]
    for _ in range(kills):
        receive, send = FORK.Pipe(duplex=False)
        first = max(body.round for body in Ledger.open(path).chain.bodies.values()) + 1
        child = FORK.Process(target=spend_rounds, args=(path, range(first, 2000), send))
        child.start()
        send.close()
        assert receive.poll(60)
        time.sleep(rng.uniform(0, 0.012))
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
        with suppress(EOFError):
            while True:
                acknowledged.append(receive.recv())
    ledger = Ledger.open(path)  # moves a torn line aside
    assert max(Counter(acknowledged).values()) == 1
    assert set(acknowledged) <= set(drawn(path))
    (reserved,) = ledger.chain.reservations.values()
    assert sum(reserved.drawn.values()) == len(drawn(path)) <= 2000
    assert ledger.spent().bound <= LIMITS.epsilon
    (verdict,) = verify_all(folder, EvidenceSources())
    assert verdict.ok, verdict.fault


def test_every_torn_tail_is_moved_aside_and_spends_nothing_acknowledged(tmp_path) -> None:
    folder = tmp_path / "l"
    ledger = open_ledger(folder)
    ledger.reserve(request(1))
    path = folder / "north.jsonl"
    before = path.read_bytes()
    kept = shutil.copytree(folder, tmp_path / "kept")
    ledger.reserve(request(2))
    line = path.read_bytes()[len(before) :]
    for length in (1, 7, len(line) // 2, len(line) - 1):
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        with path.open("ab") as file:
            file.write(line[:length])
        assert read_ledger(path)[1]
        again = Ledger.open(path)
        assert again.torn == (path.with_name("north.jsonl.torn"),)
        assert again.torn[0].read_bytes() == line[:length] + b"\n"
        assert path.read_bytes() == before
        with pytest.raises(PrivacyError, match="spent already"):
            again.reserve(request(1))
        again.reserve(request(2))
        assert verify_all(folder, EvidenceSources())[0].ok


def test_a_reservation_whose_round_was_torn_stays_spent(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    anchor = tmp_path / "keys" / "north.anchor"
    noted = anchor.read_bytes()
    ledger.reserve(request(1))
    before = ledger.spent().bound
    path = tmp_path / "north.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:20])
    anchor.write_bytes(noted)  # the crash came before it was written
    again = Ledger.open(path)
    assert again.spent().bound == before > 0
    again.reserve(request(1))
    assert len(again.chain.reservations) == 1


CHILD = """
import sys
from pathlib import Path
from tests.shared.privacy.ledger.shop_ledgers import open_ledger, request
from shared.errors import PrivacyError
folder, number = Path(sys.argv[1]), 0
try:
    ledger = open_ledger(folder)
    for number in range(1, 2000):
        ledger.reserve(request(number, plan=({plan},)))
except PrivacyError as error:
    print(number, error)
"""


def test_a_file_that_may_not_grow_is_refused_and_keeps_its_lines(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.reserve(request(1, plan=LONG))
    path = tmp_path / "north.jsonl"
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))
    try:
        with pytest.raises(PrivacyError, match=r"cannot be written .*nothing is released"):
            ledger.reserve(request(2, plan=LONG))
        with pytest.raises(PrivacyError, match="cannot be written"):
            ledger.reserve(request(2, plan=LONG))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert ledger.torn == ()
    ledger.reserve(request(2, plan=LONG))
    assert drawn(path) == [1, 2]
    assert verify_all(tmp_path, EvidenceSources())[0].ok


def in_mount(folder: Path, mount: str, *, then: str = "true") -> subprocess.CompletedProcess[str]:
    """Runs a spender inside a private mount namespace; skips where that is not allowed."""
    script = CHILD.format(plan=LONG[0]).replace("Mechanism(", "M(")
    script = "from shared.privacy.accounting.guarantee import Mechanism as M\n" + script
    target = str(folder)
    command = f'{mount} {target} && {then} && exec {sys.executable} -c "$1" {target}/l'
    trial = ["unshare", "-m", "sh", "-c", f"{mount} {target}"]
    if shutil.which("unshare") is None or subprocess.run(trial, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", command, "sh", script],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        check=True,
    )


@pytest.mark.slow
def test_a_full_disk_refuses_before_anything_is_released(tmp_path) -> None:
    done = in_mount(tmp_path, "mount -t tmpfs -o size=64k tmpfs")
    number, text = done.stdout.split(" ", 1)
    assert int(number) > 5
    assert "No space left on device" in text


@pytest.mark.slow
def test_a_read_only_disk_refuses_before_anything_is_released(tmp_path) -> None:
    full_run(open_ledger(tmp_path / "l"))
    before = (tmp_path / "l" / "north.jsonl").read_bytes()
    done = in_mount(
        tmp_path, f"mount --bind {tmp_path}", then=f"mount -o remount,ro,bind {tmp_path}"
    )
    assert "Read-only file system" in done.stdout
    assert "nothing is released" in done.stdout
    assert (tmp_path / "l" / "north.jsonl").read_bytes() == before
