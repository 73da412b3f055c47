"""`node serve --workers 3` as its shop runs it: real processes, killed and ended."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import psutil
import pytest

from simulation.bench.deployment.processes import wait_until
from tests.client.serving.http.test_process import WAIT, serving
from tests.client.serving.small_service import write_shop

pytestmark = pytest.mark.slow
WORKERS = 3


def listening(process, port: int) -> list[psutil.Process]:
    """Processes that take connections of a port."""
    every = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    owners = []
    for one in every:
        try:
            sockets = one.net_connections("tcp")
        except psutil.Error:
            continue
        if any(s.status == psutil.CONN_LISTEN and s.laddr.port == port for s in sockets):
            owners.append(one)
    return owners


def all_answer(process, port: int) -> bool:
    return len(listening(process, port)) == WORKERS


def again(client: httpx.Client, user: str) -> list[str]:
    """Asks on a connection of its own, which any of the processes may get."""
    path = f"{client.base_url}/api/recommend/{user}?surface=buy-again&n=5".replace("//api", "/api")
    answer = httpx.get(path, headers={"X-API-Key": client.headers["X-API-Key"]}, timeout=120)
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def buy(client: httpx.Client, number: int, item: str) -> None:
    event = {"event_id": f"e{number}-{item}", "user_id": f"user {number}", "item_id": item}
    url = f"{client.base_url}/api/feedback".replace("//api", "/api")
    headers = {"X-API-Key": client.headers["X-API-Key"]}
    assert httpx.post(url, json=[event], headers=headers, timeout=120).status_code == 201


def test_every_process_knows_a_write_that_was_acknowledged(tmp_path: Path) -> None:
    write_shop(tmp_path / "data")
    options = ("--data", str(tmp_path / "data"), "--workers", str(WORKERS))
    with serving(tmp_path, *options) as (process, client):
        port = client.base_url.port or 0
        buy(client, 99, "i2")  # no reader is ready yet, and none is waited for
        wait_until(lambda: all_answer(process, port), seconds=WAIT, name="readers")
        assert [again(client, "user 99") for _ in range(8)] == [["i2"]] * 8
        for number in range(20):
            buy(client, number, "i3")
            assert [again(client, f"user {number}") for _ in range(4)] == [["i3"]] * 4
        url = f"{client.base_url}/api/users/user%200".replace("//api", "/api")
        headers = {"X-API-Key": client.headers["X-API-Key"]}
        assert httpx.delete(url, headers=headers, timeout=120).status_code == 200
        assert [again(client, "user 0") for _ in range(8)] == [[]] * 8

        reader = next(one for one in listening(process, port) if one.pid != process.pid)
        reader.kill()
        wait_until(lambda: all_answer(process, port), seconds=WAIT, name="a new reader")
        buy(client, 1, "i4")
        assert [set(again(client, "user 1")) for _ in range(8)] == [{"i3", "i4"}] * 8

        counted = 'fedprofile_requests_total{method="GET",route="/api/recommend/{user_id}"'
        lines = client.get("/metrics").text.splitlines()
        assert sum(float(line.split()[-1]) for line in lines if counted in line) > 80

        children = psutil.Process(process.pid).children(recursive=True)
        for one in (psutil.Process(process.pid), *children):  # as Ctrl-C does, or systemd
            one.send_signal(signal.SIGTERM)
        assert process.wait(timeout=WAIT) == 0
        _, alive = psutil.wait_procs(children, timeout=WAIT)
        assert not alive


def test_readers_end_with_a_writer_that_was_killed(tmp_path: Path) -> None:
    write_shop(tmp_path / "data")
    options = ("--data", str(tmp_path / "data"), "--workers", "2")
    with serving(tmp_path, *options) as (process, client):
        port = client.base_url.port or 0
        wait_until(lambda: len(listening(process, port)) == 2, seconds=WAIT, name="readers")
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(children, timeout=WAIT)
        assert not alive
