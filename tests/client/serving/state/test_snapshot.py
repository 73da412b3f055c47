"""The copy of the state: written in the background, whole or not at all, and true after a kill."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pytest

from client.serving.service.service import Service
from client.serving.state import loader as loading
from tests.client.serving.http.test_process import serving
from tests.client.serving.small_service import client_of, opened, write_shop


def buy(client, user_id: str, *item_ids: str) -> None:
    events = [{"user_id": user_id, "item_id": item_id} for item_id in item_ids]
    assert client.post("/api/feedback", json=events).status_code == 201


def recommended(client, user_id: str) -> list[str]:
    found = client.get(f"/api/recommend/{user_id}?n=20").json()["items"]
    return [entry["item_id"] for entry in found]


def until(true, seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def copy_of(folder: Path) -> Path:
    return folder / "shop.db.state.npz"


@pytest.mark.slow
def test_a_killed_node_starts_from_the_last_copy_and_the_events_since(tmp_path) -> None:
    write_shop(tmp_path / "data")
    copy = copy_of(tmp_path)
    with serving(tmp_path, "--data", str(tmp_path / "data")) as (process, client):
        until(copy.exists)  # without an orderly end
        written = copy.stat().st_mtime_ns
        buy(client, "new", "i4", "i7")
        client.delete("/api/users/u2")
        until(lambda: not copy.exists())
        buy(client, "newer", "i5")
        wanted = recommended(client, "new"), recommended(client, "newer")
        process.send_signal(signal.SIGKILL)
        process.wait()
    options = ("--snapshot-seconds", "0.1", "--refresh-seconds", "0.1")
    with serving(tmp_path, *options) as (process, client):
        until(copy.exists)
        assert copy.stat().st_mtime_ns > written
        buy(client, "last", "i6")
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = copy.read_bytes()
    with serving(tmp_path) as (_, client):
        assert copy.read_bytes() == before
        # What they took leads; weights are learned and neighbours found anew between the starts.
        for user_id, leading in (("new", wanted[0][:2]), ("newer", wanted[1][:1])):
            assert recommended(client, user_id)[: len(leading)] == leading
        assert set(wanted[0][:2]) == {"i4", "i7"}
        assert wanted[1][0] == "i5"
        again = client.get("/api/recommend/last?surface=buy-again").json()["items"]
        assert [entry["item_id"] for entry in again] == ["i6"]
        assert client.get("/api/users/u2/profile").status_code == 404


def loaded_from_copy(service: Service, monkeypatch) -> bool:
    """Whether another start would read the events from the copy."""
    read = []
    real = loading.read_events

    def counted(connection, **more):
        read.append(more["after"])
        return real(connection, **more)

    monkeypatch.setattr(loading, "read_events", counted)
    loading.load_state(service.store, service.snapshot)
    monkeypatch.undo()
    return read[0] > 0


def test_a_damaged_or_half_written_copy_is_not_taken(tmp_path, monkeypatch) -> None:
    with client_of(opened(tmp_path)) as client:
        buy(client, "new", "i4")
    whole = copy_of(tmp_path).read_bytes()
    service = opened(tmp_path)
    assert loaded_from_copy(service, monkeypatch)
    for damaged in (whole[: len(whole) // 2], b"", whole[:100], b"\0" * len(whole)):
        copy_of(tmp_path).write_bytes(damaged)
        assert not loaded_from_copy(service, monkeypatch), damaged[:10]
    service.close()


def test_what_a_killed_writer_left_is_removed(tmp_path) -> None:
    opened(tmp_path).close()
    left = tmp_path / ".draft-shop.db.state.npz-abc"
    left.write_bytes(b"half a copy")
    opened(tmp_path).close()
    assert not left.exists()
    assert copy_of(tmp_path).exists()


def test_the_copy_is_written_when_it_is_due_and_not_before(tmp_path) -> None:
    service = opened(tmp_path, refresh_seconds=0.05, snapshot_seconds=0.3)
    with client_of(service) as client:
        until(copy_of(tmp_path).exists)
        first = copy_of(tmp_path).stat().st_mtime_ns
        time.sleep(0.7)
        assert copy_of(tmp_path).stat().st_mtime_ns == first  # nothing has changed
        buy(client, "new", "i4")
        until(lambda: copy_of(tmp_path).stat().st_mtime_ns > first)
        until(lambda: service.snapshot.fits(service.engine))


def test_many_events_do_not_wait_for_their_time(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("client.serving.service.service.SNAPSHOT_EVENTS", 3)
    service = opened(tmp_path, refresh_seconds=0.05, snapshot_seconds=3600)
    with client_of(service) as client:
        until(copy_of(tmp_path).exists)
        first = copy_of(tmp_path).stat().st_mtime_ns
        buy(client, "new", "i4", "i5")
        time.sleep(0.5)
        assert copy_of(tmp_path).stat().st_mtime_ns == first
        buy(client, "new", "i7")
        until(lambda: copy_of(tmp_path).stat().st_mtime_ns > first)


def test_a_deletion_while_the_copy_is_written_keeps_it_off_the_disk(tmp_path, monkeypatch) -> None:
    service = opened(tmp_path)
    real, written = np.savez, []

    def savez(file, **arrays) -> None:
        monkeypatch.undo()
        service.delete_user("u1").result()
        real(file, **arrays)
        written.extend(path.stat().st_size for path in tmp_path.glob(".*.npz*"))

    monkeypatch.setattr("client.serving.state.snapshot.np.savez", savez)
    service.snapshot.save(service.engine)
    assert len(written) == 1
    assert written[0] > 1000
    assert list(tmp_path.glob("*.npz*")) == list(tmp_path.glob(".*.npz*")) == []
    service.close()
