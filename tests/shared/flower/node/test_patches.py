"""What the node's patches rely on in Flower, and what they change: fails when Flower changes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.common.constant import HEARTBEAT_MIN_INTERVAL, SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE
from flwr.proto.fleet_pb2 import ActivateNodeResponse, DeactivateNodeResponse
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatResponse
from flwr.supercore import heartbeat
from flwr.supercore.error import ApiErrorCode
from flwr.supercore.fab import Fab
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.inflatable.inflatable_utils import pull_and_inflate_object_from_tree
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.protobuf.client import ProtobufClient
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode import fleet_http_connection
from flwr.supernode import start_client_internal as node_loop
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.nodestate import NodeStateFactory
from flwr.supernode.runtime import run_clientapp as clientapp_process

from shared.flower.bundle import bundle_hash, thin_bundle
from shared.flower.node import connection, link
from shared.flower.node.executor import patch_app_loading, patch_part_retries
from shared.flower.node.supernode import TRUSTED_ENTITIES, patch_bundle_check

TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 5, 1
Restore = Callable[..., None]
BUSY = {"code": int(ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED), "detail": "busy"}


@pytest.fixture
def restore(monkeypatch: pytest.MonkeyPatch) -> Restore:
    """Puts names of a module back at the end of the test."""

    def later(module: ModuleType, *names: str) -> None:
        for name in names:
            monkeypatch.setattr(module, name, getattr(module, name))

    return later


def parameters(function: Callable[..., object]) -> list[str]:
    return list(inspect.signature(function).parameters)


class Server:
    """Answers what a node asks; the first `busy` activations are refused.

    Attributes:
        paths: Of all requests.
        intervals: Seconds that the node said it would beat in.
    """

    def __init__(self, busy: int) -> None:
        self.busy, self.paths, self.intervals = busy, [], []  # type: ignore[var-annotated]

    def answer(self, _: ProtobufClient, *, path: str, request: Any, **__: Any) -> Any:
        self.paths.append(path)
        if path.endswith("/activate-node"):
            self.intervals.append(request.heartbeat_interval)
            self.busy -= 1
            if self.busy >= 0:
                response = httpx.Response(409, json=BUSY, request=httpx.Request("POST", "http://x"))
                raise httpx.HTTPStatusError("busy", request=response.request, response=response)
            return ActivateNodeResponse(node_id=7)
        if path.endswith("send-node-heartbeat"):
            return SendNodeHeartbeatResponse(success=True)
        return DeactivateNodeResponse()


def connect(server: Server, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    """Connects with Flower's own code to a server that answers within this process."""
    key = ec.generate_private_key(ec.SECP384R1())
    monkeypatch.setattr(ProtobufClient, "_unary_unary", lambda c, **r: server.answer(c, **r))
    pair = (key, key.public_key())
    with fleet_http_connection.http_request_response("127.0.0.1:1", True, None, pair) as calls:
        return calls


def test_flower_gives_up_where_a_node_is_busy_and_the_patched_one_asks_again(
    monkeypatch: pytest.MonkeyPatch, restore: Restore
) -> None:
    restore(fleet_http_connection, "FleetHttpClient", "HEARTBEAT_DEFAULT_INTERVAL")
    restore(heartbeat, "exponential", "HEARTBEAT_DEFAULT_INTERVAL")
    monkeypatch.setattr(connection, "ACTIVATION_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(link.SERVER_PULSE, "_last", None)
    exits: list[object] = []

    def leave(code: object, *_: object) -> None:
        exits.append(code)
        raise SystemExit(1)

    monkeypatch.setattr(fleet_http_connection, "flwr_exit", leave)
    stopped = Server(busy=2)
    with pytest.raises(SystemExit):
        connect(stopped, monkeypatch)
    assert len(exits) == 1
    assert stopped.intervals == [30.0]

    connection.patch_connection()
    server = Server(busy=2)
    calls = connect(server, monkeypatch)
    assert calls[0] == 7
    assert len(calls) == 8  # the bundle check takes the fifth apart, the stub nodes all
    assert server.intervals == [connection.HEARTBEAT_SECONDS] * 3
    assert connection.HEARTBEAT_SECONDS >= HEARTBEAT_MIN_INTERVAL
    assert "/v1/fleet/send-node-heartbeat" in server.paths
    assert link.SERVER_PULSE.alive()


def test_flower_backs_off_from_a_failed_heartbeat_and_the_patched_one_does_not(
    restore: Restore,
) -> None:
    def waits() -> list[float]:
        sender = HeartbeatSender(lambda: False)
        return list(islice(sender._retry_invoker.wait_gen_factory(), 9))

    restore(heartbeat, "exponential", "HEARTBEAT_DEFAULT_INTERVAL")
    restore(fleet_http_connection, "FleetHttpClient", "HEARTBEAT_DEFAULT_INTERVAL")
    assert max(waits()) == 20
    connection.patch_connection()
    assert waits() == [connection.HEARTBEAT_RETRY_SECONDS] * 9
    names = HeartbeatSender._run.__code__.co_names
    assert "HEARTBEAT_DEFAULT_INTERVAL" in names  # looked up in each turn, not when it begins


def test_all_calls_of_a_node_pass_the_one_method_that_is_watched() -> None:
    for name in ("ActivateNode", "SendNodeHeartbeat", "PullObject", "PullMessages", "PushMessages"):
        method = getattr(FleetHttpClient, name)
        assert parameters(method) == ["self", "request"]
        assert "_unary_unary" in method.__code__.co_names
    assert {"path", "request"} <= set(parameters(ProtobufClient._unary_unary))


def test_the_server_takes_the_clocks_that_a_node_calls_right() -> None:
    assert (link.MAX_AHEAD_SECONDS, link.MAX_BEHIND_SECONDS) == (
        SYSTEM_TIME_TOLERANCE,
        TIMESTAMP_TOLERANCE,
    )


def loop_once(fab: Fab, trusted: dict[str, str] | None) -> Message | None:
    """Lets Flower's node receive one message of a run with this bundle; returns its reply."""
    stores = ObjectStoreFactory()
    state, store = NodeStateFactory(objectstore_factory=stores).state(), stores.store()
    state.set_node_id(7)
    request = Message(RecordDict({"c": ConfigRecord({"n": 1})}), 7, "train")
    request.metadata.__dict__ |= {"_message_id": request.object_id, "_run_id": 5}
    calls = node_loop._init_connection("127.0.0.1:1", True)
    with calls as (_, _, _, _, get_fab, *_):
        node_loop._pull_and_store_message(
            state=state,
            object_store=store,
            node_config={},
            receive=lambda: (request, SimpleNamespace(object_id=request.object_id, children=[])),
            get_run=lambda number: Run.create_empty(number),
            get_fab=lambda _, number: get_fab(fab.hash_str, number),
            pull_object=lambda *_: b"",
            confirm_message_received=lambda *_: None,
            trusted_entities=trusted,
        )
    replies = state.get_messages_legacy(is_reply=True)
    return replies[0] if replies else None


@pytest.fixture
def served_fab(monkeypatch: pytest.MonkeyPatch, restore: Restore) -> Callable[[Fab], None]:
    """Lets Flower's connection hand out a bundle."""
    restore(node_loop, "_init_connection", "_verify_fab")
    # What follows after a bundle was accepted, and needs a true one.
    monkeypatch.setattr(node_loop, "get_fused_config_from_fab", lambda *_: {})

    def serve(fab: Fab) -> None:
        @contextmanager
        def opened(*_: object, **__: object) -> Iterator[tuple[object, ...]]:
            yield (7, None, None, None, lambda *_: fab, None, None, None)

        monkeypatch.setattr(node_loop, "_init_connection", opened)

    return serve


def test_flower_has_no_list_of_bundles_and_the_patched_one_refuses_what_is_not_on_it(
    served_fab: Callable[[Fab], None], restore: Restore
) -> None:
    good, foreign = thin_bundle(), b"not ours"
    for content, accepted in ((good, True), (foreign, False)):
        fab = Fab(bundle_hash(content), content, {"valid_license": "the server says so"})
        served_fab(fab)
        before = loop_once(fab, trusted=None)
        assert before is None or not before.has_error()  # any bundle is taken
        restore(node_loop, "_init_connection", "_verify_fab")
        assert patch_bundle_check({bundle_hash(good)}) == TRUSTED_ENTITIES
        reply = loop_once(fab, trusted=TRUSTED_ENTITIES)
        assert (reply is not None and reply.has_error()) == (not accepted)


def test_flower_installs_and_imports_the_bundle_and_the_patched_task_does_neither(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = Message(RecordDict({"c": ConfigRecord({"n": 1})}), 7, "train")
    context = Context(5, 7, {}, RecordDict(), {})
    run = replace(Run.create_empty(5), fab_id="fedprofile/fedprofile", fab_version="0.1.0")
    pulled = (request, context, run, Fab(bundle_hash(b"a bundle"), b"a bundle", {}))
    sent: list[Message] = []
    steps: list[str] = []

    def foreign_app(message: Message, context: Context) -> Message:  # noqa: ARG001
        steps.append("run")
        return Message(RecordDict(), reply_to=message)

    def own_app(message: Message, context: Context) -> Message:  # noqa: ARG001
        return Message(RecordDict({"own": ConfigRecord({})}), reply_to=message)

    fakes: dict[str, object] = {
        "pull_task_input": lambda _: pulled,
        "push_message": lambda _, reply, __: sent.append(reply),
        "push_task_output": lambda **_: None,
        "register_signal_handlers": lambda **_: None,
        "flwr_exit": lambda **_: None,
        "event": lambda *_: None,
        "HeartbeatSender": lambda _: SimpleNamespace(start=lambda: None, is_running=False),
        "install_from_fab": lambda *_, **__: steps.append("install"),
        "get_load_client_app_fn": lambda **_: lambda *_: foreign_app,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(clientapp_process, name, fake)

    def answer() -> None:
        clientapp_process.run_clientapp(
            runtime_api_address="127.0.0.1:1",
            token="any",
            insecure=True,
            parent_pid=None,
            runtime_dependency_install=False,
        )

    answer()
    assert steps == ["install", "run"]
    patch_app_loading(own_app)
    answer()
    assert steps == ["install", "run"]
    assert "own" in sent[-1].content


def test_flower_waits_a_second_for_a_part_and_the_patched_task_looks_sooner(
    restore: Restore,
) -> None:
    restore(clientapp_process, "pull_and_inflate_object_from_tree")
    known = inspect.signature(pull_and_inflate_object_from_tree).parameters
    names = ("initial_backoff", "backoff_cap", "max_tries_per_object")
    assert [known[name].default for name in names] == [1, 10, 500]
    used = clientapp_process.pull_task_input.__code__.co_names
    assert "pull_and_inflate_object_from_tree" in used
    patch_part_retries()
    patched = clientapp_process.pull_and_inflate_object_from_tree
    assert [patched.keywords[name] for name in names] == [0.05, 1.0, None]  # type: ignore[attr-defined]
