"""Fuzzes the whole interface from its own description: nothing may answer 5xx."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from small_service import opened

from client.serving.api.app import create_app, guarded


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    service = opened(tmp_path_factory.mktemp("fuzz"), burst=10**6, requests_per_second=1e6)
    schema = schemathesis.openapi.from_dict(create_app(service).openapi())
    schema.app = guarded(service)
    yield schema
    service.close()


schema = schemathesis.pytest.from_fixture("fuzzed")


@schema.parametrize()
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_input_makes_the_service_fail(case) -> None:
    answer = case.call()
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert set(answer.json()["error"]) >= {"code", "message", "remedy"}
