"""The executor of a node's requests: what it says when it is ended."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest

from client.deploy.request_process import answer_request
from shared.flower.node.executor import RequestExecutor
from simulation.bench.deployment.processes import free_port, wait_until
from tests.deploy.federations import WAIT

WARNING = "no task could be taken"


def new_executor(address: str, folder: Path) -> RequestExecutor:
    return RequestExecutor(
        address,
        b"s" * 32,
        folder,
        answer=answer_request,
        preload="client.deploy.request_process",
    )


def test_an_interface_that_does_not_answer_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="fedprofile.client")
    executor = new_executor(f"127.0.0.1:{free_port()}", tmp_path)
    executor.start()
    wait_until(lambda: WARNING in caplog.text, seconds=WAIT, name="warning")
    executor.end()
    executor.join(timeout=120)
    assert not executor.is_alive()


def test_nothing_is_logged_of_an_interface_that_ends_after_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="fedprofile.client")
    with socket.create_server(("127.0.0.1", 0)) as interface:
        executor = new_executor(f"127.0.0.1:{interface.getsockname()[1]}", tmp_path)
        executor.start()
        interface.settimeout(20)
        request, _ = interface.accept()
        assert request.recv(10)
        executor.end()
        request.close()  # in the middle of a request
    executor.join(timeout=120)
    assert not executor.is_alive()
    assert WARNING not in caplog.text
