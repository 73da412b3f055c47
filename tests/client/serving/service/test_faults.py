"""A full disk and a lost machine: what was acknowledged is there, and the node goes on."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.client.serving.http.test_api import problem
from tests.client.serving.http.test_process import serving
from tests.client.serving.small_service import LINES, client_of, opened, write_shop

pytestmark = pytest.mark.slow


def event(name: str) -> dict[str, str]:
    return {"event_id": name, "user_id": "new", "item_id": f"i{sum(name.encode()) % 60}"}


def all_events(client: httpx.Client) -> list[str]:
    seen: list[str] = []
    cursor = None
    while True:
        query = {"user_id": "new", "n": 1000} | ({"cursor": cursor} if cursor else {})
        page = client.get("/api/feedback", params=query).json()
        seen += [one["event_id"] for one in page["events"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return seen


def fill(client, *, limit: int = 3000) -> tuple[list[str], httpx.Response]:
    """Sends events until one is refused."""
    kept: list[str] = []
    for number in range(limit):
        batch = [event(f"{number}-{part}" + "x" * 150) for part in range(20)]
        answer = client.post("/api/feedback", json=batch)
        if answer.status_code != 201:
            return kept, answer
        kept += [one["event_id"] for one in batch]
    raise AssertionError("nothing was refused")


def check_refusal_and_recovery(client, room) -> list[str]:
    """Fills, checks that answers go on and nothing is lost, makes room, and checks again."""
    kept, answer = fill(client)
    assert problem(answer) == (507, "disk_full")
    assert "free some space" in answer.text
    assert client.get("/api/recommend/new?n=5").status_code == 200
    lines = "\n".join(json.dumps(event(f"bulk {n}" + "x" * 150)) for n in range(500))
    bulk = client.post("/api/bulk", content=lines, headers=LINES)
    assert problem(bulk) == (507, "disk_full")
    assert bulk.json()["error"]["stored"] == 0
    assert client.get("/health/live").status_code == 200
    room()
    assert client.post("/api/feedback", json=[event("after")]).status_code == 201
    return [*kept, "after"]


def test_a_full_file_system_refuses_keeps_and_goes_on(tmp_path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a file system can be mounted by root alone")
    try:
        write_shop(disk / "data")
        ballast = disk / "ballast"
        service = opened(disk)
        ballast.write_bytes(b"x" * 1_000_000)
        with client_of(service) as client:
            kept = check_refusal_and_recovery(client, ballast.unlink)
            assert_all(client, kept)
        with client_of(opened(disk)) as client:
            assert_all(client, kept)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def assert_all(client, kept: list[str]) -> None:
    assert all_events(client) == kept


def test_the_command_on_a_disk_without_room(tmp_path) -> None:
    """A limit on the size of files stands for the disk, so that no right is needed."""
    write_shop(tmp_path / "data")
    with serving(tmp_path, "--data", str(tmp_path / "data")) as (process, client):
        sizes = [path.stat().st_size for path in tmp_path.glob("shop.db*")]
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        full = (max(sizes) + 200_000, hard)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, full)

        def room() -> None:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))

        kept = check_refusal_and_recovery(client, room)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with serving(tmp_path) as (_, client):
        assert_all(client, kept)


@contextmanager
def sending(client: httpx.Client, turn: int) -> Iterator[list[str]]:
    """Four senders note what was acknowledged until the node is gone or the block ends."""
    acknowledged: list[str] = []
    done = threading.Event()

    def send(sender: int) -> None:
        for number in range(10_000):
            if done.is_set():
                return
            name = f"t{turn}s{sender}n{number}"
            try:
                answer = client.post("/api/feedback", json=[event(name)])
            except httpx.TransportError:
                return
            if answer.status_code == 201:
                acknowledged.append(name)

    senders = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for one in senders:
        one.start()
    try:
        yield acknowledged
    finally:
        done.set()
        for one in senders:
            one.join(timeout=300)
    assert not any(one.is_alive() for one in senders)


def test_every_acknowledged_event_is_there_after_kills_at_random_moments(tmp_path) -> None:
    write_shop(tmp_path / "data")
    chance = random.Random(0)
    options = ["--data", str(tmp_path / "data"), "--refresh-seconds", "0.05"]
    acknowledged: set[str] = set()
    for turn in range(5):
        often = ("--snapshot-seconds", "0.05", *options)
        with serving(tmp_path, *often) as (process, client):
            assert acknowledged <= set(all_events(client))
            with sending(client, turn) as new:
                time.sleep(chance.uniform(0.05, 1.5))
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
            acknowledged |= set(new)
    with serving(tmp_path) as (_, client):
        found = all_events(client)
        assert acknowledged <= set(found)
        assert len(found) == len(set(found))
        again = client.get("/api/recommend/new?surface=buy-again&n=100").json()["items"]
    assert len(acknowledged) > 50
    wanted = {event(name)["item_id"] for name in found}
    assert {one["item_id"] for one in again} == wanted
