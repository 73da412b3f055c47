"""Fuzzes the whole interface from its own description: nothing may answer 5xx."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import requests
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from client.serving.server import create_app, create_guarded_app
from tests.client.serving.small_service import opened

pytestmark = pytest.mark.slow
SERVICE: Any = None
schemathesis.serializer.alias("application/x-ndjson", "text/plain")
SCHEMA = schemathesis.openapi.from_dict(create_app(SERVICE).openapi())
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations()]
_fast = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    service = opened(tmp_path_factory.mktemp("fuzz"), burst=10**6, requests_per_second=1e6)
    config = uvicorn.Config(create_guarded_app(service), port=0, log_level="error", ws="none")
    server = uvicorn.Server(config)
    running = threading.Thread(target=server.run)
    running.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with requests.Session() as session:
        yield {"base_url": f"http://127.0.0.1:{port}", "session": session}
    server.should_exit = True
    running.join()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_no_input_makes_the_service_fail(operation, mode, serving) -> None:
    @_fast
    @given(case=operation.as_strategy(generation_mode=mode))
    def fuzz(case: schemathesis.Case) -> None:
        answer = case.call(**serving)
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            assert set(answer.json()["error"]) >= {"code", "message", "remedy"}

    try:
        fuzz()
    except Unsatisfiable:
        assert mode is schemathesis.GenerationMode.NEGATIVE
        pytest.skip("takes nothing that could be wrong")


def test_the_description_has_all_routes() -> None:
    assert len(OPERATIONS) >= 25
