"""Keys under a passphrase: the right one opens all, any other one is a line and exit code 2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from client.cli import node as node_commands
from client.deploy.node_ledger import open_ledger
from client.deploy.node_process import _open_keys
from client.deploy.setup import make_node_key
from server.cli import server as server_commands
from server.coordinator.invited_shops import make_invitation
from server.coordinator.setup import renew_certificate
from server.coordinator.superlink import _hand_over_passphrase
from server.runs.releases import ReleaseRegistry
from shared.commands.options import change_passphrase
from shared.errors import ConfigError
from shared.keys.private_keys import PASSPHRASE
from shared.runtime.file_store import write_atomic
from simulation.bench.deployment.processes import wait_until
from tests.deploy.federations import WAIT, Federation
from tests.deploy.installing import Pair

UNMISTAKABLE = "heron-kettle-71-fjord"
TASK = b"client.deploy.request_process"


@pytest.fixture(autouse=True)
def no_passphrase() -> Iterator[None]:
    PASSPHRASE.set(None)
    yield
    PASSPHRASE.set(None)


def written(folder: Path, text: str, *, name: str | None = None) -> Path:
    path = folder / f"{name or text}.passphrase"
    write_atomic(path, text.encode() + b"\n", durable=True, private=True)
    return path


def shown_by(federation: Federation) -> set[bytes]:
    """What the system shows of all processes that run now: command lines and environments."""
    found = set()
    for started in federation.processes.values():
        with suppress(psutil.Error, OSError):
            top = psutil.Process(started.pid)
            for process in (top, *top.children(recursive=True)):
                with suppress(psutil.Error, OSError):  # it has ended since
                    folder = Path(f"/proc/{process.pid}")
                    found.add((folder / "cmdline").read_bytes().replace(b"\0", b" "))
                    found.add((folder / "environ").read_bytes())
    return found


def encrypt(pair: Pair, folder: Path, *, new: str = "right", old: str | None = None) -> str:
    output = ""
    for commands, root in ((node_commands, pair.node.root), (server_commands, pair.server.root)):
        words = ["passphrase", "--dir", str(root)]
        words += ["--new-passphrase-file", str(written(folder, new))] if new else ["--plain"]
        words += ["--passphrase-file", str(written(folder, old))] if old else []
        done = CliRunner().invoke(commands, words, catch_exceptions=False)
        assert done.exit_code == 0
        output += done.output
    return output


def pems(pair: Pair) -> list[bytes]:
    paths = [*pair.node.private_keys(), *pair.server.private_keys()]
    return [path.read_bytes() for path in paths]


def test_all_five_keys_are_encrypted_and_open_with_the_passphrase(
    pair: Pair,
    tmp_path: Path,
) -> None:
    public = _open_keys(pair.node).public_key()
    assert encrypt(pair, tmp_path).count("encrypted: ") == 5
    assert all(b"BEGIN ENCRYPTED PRIVATE KEY" in pem for pem in pems(pair))
    PASSPHRASE.set(b"right")
    assert _open_keys(pair.node).public_key() == public
    assert open_ledger(pair.node).spent().bound == 0
    assert pair.install(pair.release()) == 1
    renew_certificate(pair.server, days=30)
    assert all(b"BEGIN ENCRYPTED PRIVATE KEY" in pem for pem in pems(pair))
    PASSPHRASE.set(None)
    assert [r.manifest.number for r in ReleaseRegistry(pair.server).newest()] == [
        1
    ]  # reading needs none


def test_a_folder_without_the_public_key_gets_it_before_the_keys_are_encrypted(
    pair: Pair, tmp_path: Path
) -> None:
    pair.release()
    key, public = pair.server.server_key(), pair.server.signing_public
    public.unlink()  # as in folders of earlier versions
    encrypt(pair, tmp_path)
    assert public.read_text() == f"{key}\n"
    assert public.stat().st_mode & 0o077 == 0
    PASSPHRASE.set(None)
    done = CliRunner().invoke(server_commands, ["releases", "--dir", str(pair.server.root)])
    assert (done.exit_code, done.output[:10]) == (0, "1 adapter ")
    assert make_invitation(pair.server, "south").signing_key == key


@pytest.mark.parametrize(
    ("passphrase", "message"),
    [(None, "is encrypted; give its passphrase with --passphrase-file"), (b"wrong", "does not")],
)
def test_without_the_right_passphrase_nothing_opens_and_nothing_is_spent(
    pair: Pair,
    tmp_path: Path,
    passphrase: bytes | None,
    message: str,
) -> None:
    encrypt(pair, tmp_path)
    ledger = next(pair.node.ledgers.glob("*.jsonl")).read_bytes()
    for act in (
        lambda: _open_keys(pair.node),
        lambda: open_ledger(pair.node),
        lambda: pair.release(),
        lambda: renew_certificate(pair.server, days=30),
    ):
        PASSPHRASE.set(passphrase)
        with pytest.raises(ConfigError, match=message):
            act()
    assert next(pair.node.ledgers.glob("*.jsonl")).read_bytes() == ledger


def test_a_passphrase_can_be_changed_taken_away_and_a_crash_in_between_mended(
    pair: Pair,
    tmp_path: Path,
) -> None:
    encrypt(pair, tmp_path)
    half = pair.node.key.read_bytes()
    encrypt(pair, tmp_path, old="right", new="other")
    pair.node.key.write_bytes(half)  # as if the first file had not been written yet
    encrypt(pair, tmp_path, old="right", new="other")
    PASSPHRASE.set(b"other")
    _open_keys(pair.node)
    assert encrypt(pair, tmp_path, old="other", new="").count("plain: ") == 5
    PASSPHRASE.set(None)
    _open_keys(pair.node)
    PASSPHRASE.set(b"other")
    with pytest.raises(ConfigError, match="is not encrypted, but a passphrase was given"):
        _open_keys(pair.node)


@pytest.mark.parametrize("both", [False, True])
def test_encryption_is_taken_away_only_where_that_is_said(
    pair: Pair, tmp_path: Path, both: bool
) -> None:
    encrypt(pair, tmp_path)
    before = pems(pair)
    right = str(written(tmp_path, "right"))
    words = ["--passphrase-file", right]
    words += ["--plain", "--new-passphrase-file", right] if both else []
    for commands, root in ((node_commands, pair.node.root), (server_commands, pair.server.root)):
        done = CliRunner().invoke(commands, ["passphrase", "--dir", str(root), *words])
        assert isinstance(done.exception, ConfigError)
        assert "of --new-passphrase-file FILE and --plain given, must be one" in str(done.exception)
    assert pems(pair) == before


@pytest.mark.parametrize("passphrase", [None, b"right"])
def test_keys_encrypted_in_another_form_are_refused_in_one_line(
    pair: Pair, passphrase: bytes | None
) -> None:
    server = pair.server
    certified = [path.with_suffix(".key") for path in (server.authority, server.certificate)]
    for path in (pair.node.key, *certified):
        path.write_bytes(encrypted_as_openssl_did(path.read_bytes()))
    PASSPHRASE.set(passphrase)
    for act in (
        lambda: _open_keys(pair.node),
        lambda: renew_certificate(server, days=30),
        lambda: _hand_over_passphrase(server),
        lambda: change_passphrase(certified, b"right"),
    ):
        with pytest.raises(ConfigError, match="encrypted in another form than") as caught:
            act()
        assert "\n" not in str(caught.value)


def encrypted_as_openssl_did(pem: bytes) -> bytes:
    key = load_pem_private_key(pem, None)
    form, encryption = PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"right")
    return key.private_bytes(Encoding.PEM, form, encryption)


def test_a_new_key_is_encrypted_at_once(tmp_path: Path) -> None:
    PASSPHRASE.set(b"right")
    make_node_key(tmp_path)
    assert b"ENCRYPTED" in (tmp_path / "node.key").read_bytes()


def test_a_passphrase_file_that_others_may_read_or_that_is_empty_is_refused(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, "right")
    path.chmod(0o644)
    words = ["key", "--dir", str(tmp_path / "node"), "--passphrase-file", str(path)]
    assert "which lets others read it" in str(CliRunner().invoke(node_commands, words).exception)
    path.chmod(0o600)
    path.write_text("\n")
    found = CliRunner().invoke(node_commands, words).exception
    assert "holds 0 bytes, must hold 1 to 1023" in str(found)
    assert not (tmp_path / "node").exists()


@pytest.mark.slow
def test_a_federation_with_encrypted_keys_trains_and_a_wrong_passphrase_stops_it(
    make_federation: Callable[..., Federation],
) -> None:
    federation = make_federation(shops=("shop0",))
    federation.build(start=False, **{"training.rounds": 1, "federation.min_replies": 1})
    federation.kill("server")
    right = written(federation.root, UNMISTAKABLE, name="right")
    wrong = written(federation.root, "wrong")
    node, server = federation.node("shop0"), federation.server
    for command, folder in (("node", node), ("server", server)):
        federation.run(command, "passphrase", "--dir", folder, "--new-passphrase-file", right)
    for words in (("server", "start", "--dir", server), ("node", "start", "--dir", node)):
        done = federation.run(*words, "--passphrase-file", wrong, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "passphrase: does not open" in done.stderr
    assert federation.budget("shop0")["epsilon"] == 0
    federation.start("server", "server", "start", "--dir", server, "--passphrase-file", right)
    wait_until(federation.answers, seconds=WAIT, name="server")
    federation.start("shop0", "node", "start", "--dir", node, "--passphrase-file", right)
    wait_until(lambda: federation.online() == {"shop0"}, seconds=WAIT, name="node")
    done = federation.run("server", "run", "--dir", server, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "is encrypted; give its passphrase" in done.stderr
    run = federation.start("run", "server", "run", "--dir", server, "--passphrase-file", right)
    seen = set()
    while run.poll() is None:
        seen |= shown_by(federation)
    assert run.returncode == 0, federation.log("run")
    assert "finished after 1 rounds" in federation.log("run")
    for part in (b"superlink_process", b"node start", b"server.runs.attempt", TASK):
        assert any(part in words for words in seen), part
    assert not any(UNMISTAKABLE.encode() in words for words in seen)
    assert federation.current("shop0")["adapter"] == 2
    assert federation.budget("shop0")["releases"] == 2
    plain = [p for p in federation.root.rglob("*.key") if b"BEGIN PRIVATE" in p.read_bytes()]
    assert plain == []
