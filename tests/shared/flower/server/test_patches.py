"""What the server's patches rely on in Flower, and what they change: fails when Flower changes."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
import uvicorn
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink import main as superlink_app
from flwr.superlink.cli import flower_superlink
from flwr.superlink.grid import HttpGrid
from starlette.testclient import TestClient

from shared.flower.grid import PassingGrid
from shared.flower.server.grid import BoundedGrid
from shared.flower.server.run import RETRY_SECONDS
from shared.flower.server.superlink import (
    GRACEFUL_SHUTDOWN_SECONDS,
    MAX_BODY_BYTES,
    patch_body_limit,
    patch_uvicorn,
)

OPTIONS = ("timeout_graceful_shutdown", "ssl_keyfile_password")


def status_of_a_large_body() -> int:
    client = TestClient(superlink_app.create_app())
    headers = {"content-length": str(MAX_BODY_BYTES + 1)}
    return client.post("/v1/fleet/push-object", headers=headers).status_code


def test_flower_reads_a_body_of_any_length_and_the_patched_superlink_does_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLWR_HOME", str(tmp_path))
    monkeypatch.setattr(superlink_app, "_get_middleware", superlink_app._get_middleware)
    assert status_of_a_large_body() != 413
    patch_body_limit()
    assert status_of_a_large_body() == 413


def test_flower_serves_without_two_options_and_the_patched_process_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (call,) = (
        node
        for node in ast.walk(ast.parse(Path(inspect.getfile(flower_superlink)).read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "uvicorn.run"
    )
    passed = {keyword.arg for keyword in call.keywords}
    assert passed.isdisjoint(OPTIONS)  # else the patch may go
    known = inspect.signature(uvicorn.run).parameters
    assert set(OPTIONS) <= set(known)
    assert passed <= set(known)
    options: list[dict[str, object]] = []
    monkeypatch.setattr(uvicorn, "run", lambda **each: options.append(each))
    patch_uvicorn("the passphrase")
    uvicorn.run(app="any")
    assert options == [
        {
            "app": "any",
            "timeout_graceful_shutdown": GRACEFUL_SHUTDOWN_SECONDS,
            "ssl_keyfile_password": "the passphrase",
        }
    ]


def test_flower_s_grid_has_the_insides_that_the_bounded_one_uses() -> None:
    grid = BoundedGrid("127.0.0.1:1", insecure=True, token="any")
    assert isinstance(grid, HttpGrid)
    assert grid._retry_invoker.max_time is None  # Flower's own asks without end
    grid._retry_invoker.max_time, grid._retry_invoker.max_tries = RETRY_SECONDS, 1
    for call in ("PullMessages", "PullObject", "ConfirmMessageReceived", "PushTaskOutput"):
        assert callable(getattr(grid._runtime_client, call))
    assert grid.node.node_id == 1
    grid.close()
    # Flower waits for one reply after the other, and builds what each describes.
    flower = HttpGrid.pull_messages.__code__.co_names
    assert {"pull_objects", "inflate_object_from_contents", "_runtime_client"} <= set(flower)


def test_a_message_holds_its_numbers_under_the_names_that_are_written() -> None:
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
    metadata = Message(RecordDict(), 7, "train").metadata
    assert {"_message_id", "_src_node_id"} <= set(metadata.__dict__)
    metadata.__dict__ |= {"_message_id": "m", "_src_node_id": 9}
    assert (metadata.message_id, metadata.src_node_id) == ("m", 9)


def test_a_heartbeat_that_returns_false_is_tried_again_and_an_error_ends_it() -> None:
    answers = iter([False, True])
    sender = HeartbeatSender(lambda: next(answers))
    sender._retry_invoker.wait_function = lambda _: None
    sender._retry_invoker.invoke(sender._heartbeat)
    with pytest.raises(StopIteration):
        sender._retry_invoker.invoke(sender._heartbeat)


def test_a_grid_around_another_passes_all_of_flower_s_calls_on() -> None:
    assert not inspect.isabstract(PassingGrid)
    asked = {
        n for n, member in vars(Grid).items() if getattr(member, "__isabstractmethod__", False)
    }
    assert asked == {
        "set_run",
        "run",
        "create_message",
        "get_node_ids",
        "push_messages",
        "pull_messages",
        "send_and_receive",
    }
