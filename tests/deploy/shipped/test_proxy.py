"""The supplied nginx configuration: shops reach the fleet interface and nothing else."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator

import httpx
import pytest

from server.coordinator.folder import ServerFolder
from simulation.bench.deployment.processes import free_port, wait_until
from tests import ROOT
from tests.deploy.federations import WAIT, Federation

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed"),
]


@pytest.fixture(scope="module")
def federation(make_federation: Callable[..., Federation]) -> Iterator[Federation]:
    found = make_federation(public_port=free_port(), shops=("shop0", "shop1"))
    found.build(start=False, **{"training.rounds": 1})
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    for name, value in (
        ("LISTEN", f"127.0.0.1:{found.public_port}"),
        ("SERVER_DIR", str(found.server)),
        ("SUPERLINK", f"127.0.0.1:{found.port}"),
    ):
        text = text.replace(name, value)
    path = found.root / "nginx.conf"
    path.write_text(text)
    words = ["nginx", "-c", str(path), "-p", str(found.root), "-e", str(found.root / "nginx.err")]
    checked = subprocess.run([*words, "-t"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    process = subprocess.Popen([*words, "-g", f"daemon off; pid {found.root}/nginx.pid;"])
    wait_until(lambda: _listens(found.public_port), seconds=WAIT, name="nginx")
    yield found
    process.terminate()
    process.wait(timeout=120)


def _listens(port: int | None) -> bool:
    with socket.socket() as link:
        return link.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    "path",
    [
        "/v1/control/start-run",
        "/v1/control/list-nodes",
        "/v1/runtime/acquire-task",
        "/v1/fleet/../control/start-run",
        "/v1/fleet/%2e%2e/control/start-run",
        "/health",
        "/",
    ],
)
def test_nothing_but_the_fleet_interface_is_passed(federation: Federation, path: str) -> None:
    trusted = ssl.create_default_context(cafile=str(ServerFolder(federation.server).authority))
    kind = {"Content-Type": "application/protobuf"}
    for port, reached in ((federation.port, True), (federation.public_port, False)):
        url = f"https://127.0.0.1:{port}{path}"
        answer = httpx.post(url, content=b"", headers=kind, verify=trusted, timeout=120)
        assert (answer.headers["server"] != "nginx") == reached
        if not reached:
            assert answer.status_code == 404


def test_a_run_goes_through_the_proxy(federation: Federation) -> None:
    for shop in federation.shops:
        federation.start_node(shop)
    wait_until(lambda: len(federation.online()) == 2, seconds=WAIT, name="nodes")
    federation.run_rounds()
    for shop in federation.shops:
        assert federation.current(shop) == {"counts": 1, "adapter": 2}
