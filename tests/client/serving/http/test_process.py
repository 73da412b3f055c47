"""The real command in a process of its own: starts, answers, and survives being killed."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from simulation.bench.deployment.processes import wait_until
from tests.client.serving.small_service import owner_key, weights_stored, write_shop

pytestmark = pytest.mark.slow
WAIT = 300.0
"""Seconds to wait for what must happen, however busy the machine."""


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    command = [sys.executable, "-m", "shared", "node", "serve", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--store", str(folder / "shop.db"), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving on http://"), process.communicate()[1]
        url = line.split()[2].rstrip(",")
        with httpx.Client(base_url=url, timeout=120) as client:
            client.headers["X-API-Key"] = owner_key(folder / "shop.db")
            deadline = time.monotonic() + 300
            while time.monotonic() < deadline:
                try:
                    if client.get("/health/ready").status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.05)
            yield process, client
    finally:
        process.kill()
        process.wait()


def test_an_acknowledged_event_survives_a_kill(tmp_path) -> None:
    write_shop(tmp_path / "data")
    acknowledged = []
    with serving(tmp_path, "--data", str(tmp_path / "data")) as (process, client):
        for number in range(40):
            event = {"event_id": f"e{number}", "user_id": "new", "item_id": f"i{number}"}
            answer = client.post("/api/feedback", json=[event])
            assert answer.status_code == 201
            acknowledged.append(event["event_id"])
        process.send_signal(signal.SIGKILL)
        process.wait()
    with serving(tmp_path) as (process, client):
        stored = client.get("/api/feedback?user_id=new&n=1000").json()["events"]
        # They are learned behind the first answers, and scores follow them.
        wait_until(lambda: weights_stored(tmp_path / "shop.db"), seconds=WAIT, name="weights")
        again = client.get("/api/recommend/new?surface=buy-again&n=100").json()["items"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0
    assert [event["event_id"] for event in stored] == acknowledged
    assert {item["item_id"] for item in again} == {f"i{n}" for n in range(40)}
    # After an orderly end the copy of the state is there, and says the same.
    assert (tmp_path / "shop.db.state.npz").stat().st_mode & 0o077 == 0
    with serving(tmp_path) as (_, client):
        assert client.get("/api/recommend/new?surface=buy-again&n=100").json()["items"] == again


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--host", "0.0.0.0"], "FEDPROFILE_API_KEY"),
        (["--store", "mysql://x/y"], "sqlite:///PATH or postgresql"),
        (["--adapter", "/nope"], "profile_model.json"),
        (["--data", "/nope"], "/nope"),
        (["--local-share", "2"], "local_share=2"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, options, text) -> None:
    write_shop(tmp_path / "data")
    command = [sys.executable, "-m", "shared", "node", "serve", "--port", "0"]
    default = ["--store", str(tmp_path / "shop.db"), "--data", str(tmp_path / "data")]
    done = subprocess.run([*command, *default, *options], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_evaluate_and_import_report(tmp_path) -> None:
    data = str(write_shop(tmp_path / "data"))
    command = [sys.executable, "-m", "shared", "node"]
    where = ["--store", str(tmp_path / "shop.db"), "--data", data]
    first = subprocess.run([*command, "import", *where], capture_output=True, text=True)
    assert first.stdout.splitlines()[0] == "4480 events imported (4480 rows read, 0 dropped)"
    again = subprocess.run([*command, "import", *where], capture_output=True, text=True)
    assert again.stdout.startswith("nothing new: all is stored already")
    found = subprocess.run([*command, "evaluate", *where], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert re.search(r"for-you \(\d+ queries\)", found.stdout)
    assert "NDCG@10" in found.stdout
