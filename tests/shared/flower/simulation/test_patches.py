"""What the engines rely on in Flower, and what they change: fails when Flower changes."""

from __future__ import annotations

import inspect
import os
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest
import ray
from flwr.server.superlink.fleet.vce import vce_api
from flwr.simulation.ray_transport.ray_actor import BasicActorPool
from flwr.supercore import telemetry
from flwr.supernode import start_client_internal as node_loop

from shared.flower.simulation.in_process import ENGINE_ENVIRONMENT, quiet_engine
from shared.flower.simulation.ray import EndingBackend

POOL = "self._future_to_actor[future] = actor"


def test_flower_shuts_ray_down_while_shops_train_and_the_patched_backend_ends_them_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []
    training = {"future": "actor"}
    pool = SimpleNamespace(
        _future_to_actor=training, terminate_all_actors=lambda: order.append("idle actors")
    )

    def kill(actor: str) -> None:
        order.append(f"kill {actor}")
        training.clear()  # as Flower's thread does where `ray.get` raises

    monkeypatch.setattr(ray, "kill", kill)
    monkeypatch.setattr(ray, "shutdown", lambda: order.append("shutdown"))
    for backend, expected in (
        # Flower's own: the name in its module may be patched by then, in the same process.
        (EndingBackend.__mro__[1], ["idle actors", "shutdown"]),
        (EndingBackend, ["kill actor", "idle actors", "shutdown"]),
    ):
        order.clear()
        ended = object.__new__(backend)
        ended.pool = pool
        ended.terminate()
        assert order == expected


def test_flower_keeps_what_trains_where_the_patched_backend_looks() -> None:
    assert POOL in inspect.getsource(BasicActorPool.submit)
    assert "self._future_to_actor.pop(future)" in inspect.getsource(
        BasicActorPool.add_actor_back_to_pool
    )
    # The backend is looked up in its module when a simulation starts, so that the patch is seen.
    assert "from .backend.raybackend import RayBackend" in inspect.getsource(vce_api.start_vce)


def test_flower_sends_telemetry_and_the_quiet_engine_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []

    def refuse(request: urllib.request.Request, **_: object) -> None:
        calls.append(request.full_url)
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(telemetry, "FLWR_TELEMETRY_ENABLED", "1")
    before = dict(os.environ)
    telemetry.create_event(telemetry.EventType.PING, None)
    assert calls == [telemetry.TELEMETRY_EVENTS_URL]
    with quiet_engine():
        telemetry.create_event(telemetry.EventType.PING, None)
        assert ENGINE_ENVIRONMENT.items() <= os.environ.items()
    assert len(calls) == 1
    assert telemetry.FLWR_TELEMETRY_ENABLED == "1"
    assert dict(os.environ) == before


def test_the_stub_nodes_use_functions_of_flower_s_loop_as_it_does_itself() -> None:
    names = inspect.signature(node_loop._pull_and_store_message).parameters
    assert list(names) == [
        "state",
        "object_store",
        "node_config",
        "receive",
        "get_run",
        "get_fab",
        "pull_object",
        "confirm_message_received",
        "trusted_entities",
    ]
    assert list(inspect.signature(node_loop._insert_message).parameters) == [
        "msg",
        "state",
        "store",
    ]
    assert list(inspect.signature(node_loop._push_messages).parameters) == [
        "state",
        "object_store",
        "send",
        "push_object",
    ]
    assert list(inspect.signature(node_loop._init_connection).parameters)[:4] == [
        "server_address",
        "insecure",
        "root_certificates",
        "authentication_keys",
    ]
