from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from client.serving.service.service import Service
from tests.client.serving.small_service import client_of, opened


@pytest.fixture
def service(tmp_path) -> Service:
    return opened(tmp_path)


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with client_of(service) as client:
        yield client
