"""How a node's process ends, in whichever of its threads Flower notices that it was refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from client.deploy import node_process
from shared.errors import RunError
from shared.flower.node.link import SignatureRefusals
from tests.deploy.installing import Pair

End = Callable[[], None]


def interrupted() -> None:
    raise KeyboardInterrupt


def left() -> None:
    raise SystemExit(0)


def failed() -> None:
    raise SystemExit(1)


def returned() -> None:
    """Flower logs what went wrong in the main thread, and goes on behind its loop."""


@pytest.fixture
def ending(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Starts a node that ends in a given way, after the server refused its signature or did not."""
    refusals = SignatureRefusals()
    monkeypatch.setattr(node_process, "SIGNATURE_REFUSALS", refusals)
    monkeypatch.setattr(node_process, "log_to", lambda *_, **__: None)
    monkeypatch.chdir(pair.node.root)
    for name in ("FLWR_HOME", *node_process.ALLOCATOR_ENVIRONMENT, *node_process.QUIET_ENVIRONMENT):
        monkeypatch.setenv(name, "")  # put back afterwards
        monkeypatch.delenv(name)
    monkeypatch.setattr("os.umask", lambda mask: mask)

    def start(end: End, *, refused: bool) -> None:
        def serve(*_: object, **__: object) -> None:
            if refused:
                there = datetime.now(UTC) - timedelta(hours=1)
                date = {"date": there.strftime("%a, %d %b %Y %H:%M:%S GMT")}
                refusals.note(httpx.Response(401, headers=date))
            end()

        monkeypatch.setattr("shared.flower.node.supernode.serve_supernode", serve)
        node_process.start_node(pair.node)

    return start


@pytest.mark.parametrize("end", [interrupted, left, failed, returned])
def test_a_refused_signature_is_the_cause_however_flower_ends(
    ending: Callable[..., None], end: End
) -> None:
    with pytest.raises(RunError, match="clock is 36"):
        ending(end, refused=True)


@pytest.mark.parametrize("end", [failed, returned])
def test_a_node_that_loses_its_server_does_not_end_well(
    ending: Callable[..., None], end: End
) -> None:
    with pytest.raises(RunError, match="refused the connection or cannot be trusted"):
        ending(end, refused=False)


def test_processes_of_a_node_free_memory_at_once_unless_the_owner_says_otherwise(
    ending: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "5")
    ending(left, refused=False)
    assert os.environ["MALLOC_TRIM_THRESHOLD_"] == "5"
    assert os.environ["MALLOC_MMAP_THRESHOLD_"] == "1000000"


def test_the_owner_stops_a_node(ending: Callable[..., None]) -> None:
    ending(left, refused=False)
    with pytest.raises(KeyboardInterrupt):
        ending(interrupted, refused=False)
