"""The end of a Flower run, as its own process tells it."""

from __future__ import annotations

import contextlib
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.proto.runtime_pb2 import PullTaskInputResponse, SendTaskHeartbeatResponse

from shared.errors import RunError
from shared.flower.server import run
from shared.flower.server.run import flower_run


def heartbeats() -> int:
    """Counts the threads that send heartbeats."""
    return sum("(_run)" in thread.name for thread in threading.enumerate())


class Client:
    """A SuperLink that calls a run over once it was told so, as Flower's does."""

    def __init__(self) -> None:
        self.over = False
        self.at_the_end = -1

    def PullTaskInput(self, _: Any) -> PullTaskInputResponse:  # noqa: N802
        return PullTaskInputResponse()

    def SendTaskHeartbeat(self, _: Any) -> SendTaskHeartbeatResponse:  # noqa: N802
        return SendTaskHeartbeatResponse(success=not self.over)

    def PushTaskOutput(self, _: Any) -> None:  # noqa: N802
        self.over = True
        self.at_the_end = heartbeats()


def test_no_heartbeat_is_sent_once_the_run_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower answers it by an interrupt, which would hide why the run ended."""
    client = Client()
    grid = SimpleNamespace(
        _runtime_client=client,
        _retry_invoker=SimpleNamespace(),
        set_run=lambda _: None,
        close=lambda: None,
    )
    monkeypatch.setattr(run, "BoundedGrid", lambda *_, **__: grid)
    monkeypatch.setattr(run, "_task_token", lambda *_, **__: "token")
    running: list[int] = []
    ends = flower_run("127.0.0.1:1", authority=b"", executor_secret=b"")
    with contextlib.suppress(RunError), ends:
        running.append(heartbeats())
        raise RunError("too few")
    assert client.over
    assert (running, client.at_the_end) == ([1], 0)
