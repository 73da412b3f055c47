"""Who may connect: the right key to the right server over TLS, and nobody else."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable

import httpx
import pytest

from client.deploy.setup import make_node_key
from server.coordinator.folder import ServerFolder
from server.coordinator.invited_shops import read_shops, revoke_shop
from server.coordinator.setup import renew_certificate
from server.runs.lifecycle import begin_run
from server.runs.supervision import run_attempt
from server.runs.training_run import TrainingRun
from shared.errors import ConfigError
from shared.flower.node.connection import ACTIVATION_SECONDS
from shared.flower.server import control
from shared.keys.certificates import KeyPair, make_authority, make_server_certificate
from shared.runtime.file_store import write_atomic
from simulation.bench.deployment.processes import wait_until
from tests.deploy.federations import WAIT, Federation

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def federation(make_federation: Callable[..., Federation]) -> Federation:
    return make_federation().build(start=False, **{"training.rounds": 2, "wait": 20})


def refused(federation: Federation, shop: str) -> str:
    """Starts a node, waits for it to give up, and returns its last lines."""
    federation.start_node(shop)
    return given_up(federation, shop)


def given_up(federation: Federation, shop: str) -> str:
    """Waits for a node that was started to give up, and returns its log."""
    process = federation.processes[shop]
    assert process.wait(timeout=ACTIVATION_SECONDS + WAIT) == 1, federation.log(shop)
    del federation.processes[shop]
    return federation.log(shop)


def test_plain_text_on_the_tls_port_gets_nothing(federation: Federation) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.post(f"http://127.0.0.1:{federation.port}/v1/fleet/activate-node", timeout=120)
    with socket.create_connection(("127.0.0.1", federation.port), timeout=120) as link:
        link.sendall(b"GET /v1/fleet/pull-messages HTTP/1.1\r\nHost: x\r\n\r\n")
        assert link.recv(100)[:4] != b"HTTP"


def test_a_client_without_the_authority_does_not_trust_the_server(federation: Federation) -> None:
    with (
        socket.create_connection(("127.0.0.1", federation.port), timeout=120) as link,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(link, server_hostname="127.0.0.1")


def test_the_server_ends_although_a_connection_stays_open(federation: Federation) -> None:
    authority = ssl.create_default_context(cafile=str(ServerFolder(federation.server).authority))
    with (
        socket.create_connection(("127.0.0.1", federation.port), timeout=120) as link,
        authority.wrap_socket(link, server_hostname="127.0.0.1") as held,
    ):
        held.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert held.recv(100)[:4] == b"HTTP"
        begun = time.monotonic()
        federation.kill("server", signal.SIGTERM)  # the peer reads nothing, as one that trains
        assert time.monotonic() - begun < 60  # the connection is held for as long as the test
    federation.start_server()


def test_tasks_are_only_for_who_knows_the_executor_s_secret(federation: Federation) -> None:
    url = f"https://127.0.0.1:{federation.port}/v1/runtime/acquire-task"
    authority = ssl.create_default_context(cafile=str(ServerFolder(federation.server).authority))
    kind = {"Content-Type": "application/protobuf"}
    answer = httpx.post(url, content=b"", headers=kind, verify=authority, timeout=120)
    assert answer.status_code in (401, 403), answer.text


def test_an_unregistered_and_a_revoked_key_are_refused(federation: Federation) -> None:
    stranger = federation.node("stranger")
    shutil.copytree(federation.node("shop2"), stranger)
    for path in (stranger / "node.key", stranger / "node.pub"):
        path.unlink()
    make_node_key(stranger)
    federation.start_node("stranger")

    folder = ServerFolder(federation.server)
    revoke_shop(folder, "shop2")
    assert set(read_shops(folder)) == {"shop0", "shop1"}
    for log in (refused(federation, "shop2"), given_up(federation, "stranger")):
        said = log.splitlines()[-1]
        assert said.startswith("fedprofile: server=")
        assert "refused the connection or cannot be trusted" in said
        assert "is the shop invited" in said
    assert "holds this node for connected or knows no such key" in log
    assert federation.online() == set()
    with pytest.raises(ConfigError, match="shop=shop2 is not invited"):
        revoke_shop(folder, "shop2")


def test_a_key_is_registered_once(federation: Federation) -> None:
    done = federation.run(
        *("server", "invite", "other", "--dir", federation.server),
        *("--key", federation.node("shop0") / "node.pub"),
        check=False,
    )
    assert done.returncode == 2
    assert "each shop needs a key of its own" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_second_node_with_one_key_changes_no_name_and_spends_no_budget_twice(
    federation: Federation,
) -> None:
    federation.start_node("shop0")
    wait_until(lambda: "shop0" in federation.online(), seconds=WAIT, name="shop0")
    copy = federation.root / "copy" / "node"
    copy.parent.mkdir()
    subprocess.run(["cp", "-a", federation.node("shop0"), copy], check=True)
    (copy / "node.lock").unlink()
    federation.start_node("copy")
    federation.start_node("shop1")
    wait_until(lambda: "shop1" in federation.online(), seconds=WAIT, name="shop1")
    busy = "holds this node for connected"
    wait_until(lambda: busy in federation.log("copy"), seconds=WAIT, name="the twin's attempt")
    federation.kill("copy")
    federation.run_rounds()
    run = TrainingRun(ServerFolder(federation.server), 1)
    assert run.state().status == "finished"
    assert federation.budget("shop1")["releases"] == 3
    assert federation.budget("shop0")["releases"] == 3


def test_a_bundle_that_is_not_on_the_list_runs_nothing(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flwr.cli.build import build_fab_from_files

    mark = federation.root / "owned"
    code = f"import pathlib; pathlib.Path({str(mark)!r}).touch()\n".encode()
    from shared.flower.bundle import PROJECT

    project = PROJECT.format(version="0.1.0").replace('["README.md"]', '["**/*.py"]')
    shadows = ("client/__init__.py", "client/app.py", "shared/__init__.py", "torch.py", "numpy.py")
    files = {"pyproject.toml": project.encode(), **dict.fromkeys(shadows, code)}
    hostile, _ = build_fab_from_files(files)
    before = {shop: federation.budget(shop)["releases"] for shop in ("shop0", "shop1")}
    folder = ServerFolder(federation.server)
    run = begin_run(folder)
    with monkeypatch.context() as patch:
        patch.setattr(control, "thin_bundle", lambda: hostile)
        assert run_attempt(folder, "rounds", run.number, note=run) == 1
    assert "good replies=0" in run.state().message
    assert not mark.exists()
    for shop in ("shop0", "shop1"):
        assert "is not on the allow-list; it was not unpacked" in federation.log(shop)
        assert federation.budget(shop)["releases"] == before[shop]
        unpacked = (federation.node(shop) / "flower").rglob("*.py")
        assert [path for path in unpacked if path.name == "torch.py"] == []
    run.note(status="finished")


def test_a_wrong_and_an_expired_certificate_are_not_trusted(federation: Federation) -> None:
    folder = ServerFolder(federation.server)
    federation.close()
    stranger = make_authority("stranger")
    wrong = make_server_certificate(stranger, ["127.0.0.1"])
    _put(folder, wrong)
    federation.start_server()
    assert "cannot be trusted" in refused(federation, "shop0")
    federation.kill("server")
    renew_certificate(folder, days=-1)
    federation.start_server()
    assert "cannot be trusted" in refused(federation, "shop0")
    federation.kill("server")
    renew_certificate(folder, days=30)
    federation.start_server()
    federation.start_node("shop0")
    wait_until(lambda: "shop0" in federation.online(), seconds=WAIT, name="shop0")


def _put(folder: ServerFolder, pair: KeyPair) -> None:
    write_atomic(folder.certificate, pair.certificate, durable=True, private=True)
    write_atomic(folder.certificate.with_suffix(".key"), pair.key, durable=True, private=True)
