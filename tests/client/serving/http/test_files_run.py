"""How many files of the project run: whoever follows a request must not open more than these."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from starlette.testclient import TestClient

from client.serving.server import create_guarded_app
from client.serving.state.refresh import refresh_engine
from tests import ROOT
from tests.client.serving.small_service import opened, write_adapter

ROOMS = tuple(f"{ROOT / name}/" for name in ("client", "server", "shared", "simulation"))


@contextmanager
def files_run() -> Iterator[set[str]]:
    """Collects the files whose functions run, in this thread and in those that begin meanwhile."""
    files: set[str] = set()

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_name != "<module>" and code.co_filename.startswith(ROOMS):
            files.add(code.co_filename)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield files
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    service = opened(tmp_path)
    folder = write_adapter(tmp_path / "adapter", service, seed=1)
    service.close()
    return folder


@pytest.mark.parametrize("with_adapter", [False, True])
def test_an_answer_runs_at_most_22_files(tmp_path: Path, adapter: Path, with_adapter: bool) -> None:
    service = opened(tmp_path, adapter=adapter if with_adapter else None)
    # Without `with`: nothing runs in the background, and each request has a thread of its own.
    client = TestClient(create_guarded_app(service), base_url="http://localhost")
    assert client.get("/api/recommend/u1").status_code == 200
    with files_run() as files:
        answer = client.get("/api/recommend/u1")
    assert len(answer.json()["items"]) == 10
    assert str(ROOT / "client/serving/ranking/ranker.py") in files
    assert len(files) <= 22, sorted(files)
    service.close()


def test_from_an_event_to_the_next_answer_at_most_95_files_run(
    tmp_path: Path, adapter: Path
) -> None:
    with files_run() as files:
        service = opened(tmp_path, adapter=adapter)
        client = TestClient(create_guarded_app(service), base_url="http://localhost")
        event = {"user_id": "u1", "item_id": "i1"}
        assert client.post("/api/feedback", json=[event]).status_code == 201
        assert refresh_engine(service.engine)
        assert client.get("/api/recommend/u1").status_code == 200
    assert str(ROOT / "client/store/changes.py") in files
    assert len(files) <= 95, sorted(files)
    service.close()
