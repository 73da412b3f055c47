from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from client.serving.access.keys import (
    SESSION_SECONDS,
    AccessFiles,
    ApiKey,
    KeyRing,
    add_key,
    make_owner_key,
    read_keys,
    remove_key,
)
from client.serving.cli import serve
from client.serving.http.middleware import needed_role
from shared.errors import ConfigError

KEY = "0123456789abcdef"


@pytest.fixture
def files(tmp_path: Path) -> AccessFiles:
    return AccessFiles(tmp_path / "shop.db")


def sha256_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def find_soon(ring: KeyRing, key: str, *, name: str | None) -> None:
    """Waits until a key has become that of `name`, or of nobody."""
    deadline = time.monotonic() + 120
    while getattr(ring.find(key.encode()), "name", None) != name:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_owner_s_key_is_made_once_and_for_the_owner_alone(files: AccessFiles) -> None:
    key = make_owner_key(files)
    assert key is not None
    assert len(key) >= 32
    assert make_owner_key(files) is None
    assert files.owner_key.stat().st_mode & 0o777 == 0o600
    ring = KeyRing(files)
    assert ring.find(key.encode()) == ApiKey("owner", "admin", ring.find(key.encode()).sha256)
    assert ring.find(b"") is ring.find(b"x" * 32) is ring.find("ü".encode("latin-1")) is None
    assert not ring.is_open
    assert KeyRing().is_open
    fixed = KeyRing(files, owner_key=KEY)  # the environment takes the file's place
    assert fixed.find(KEY.encode()).name == "owner"
    assert fixed.find(key.encode()) is None


def test_further_keys_count_and_end_without_a_restart(files: AccessFiles) -> None:
    ring = KeyRing(files, owner_key=KEY)
    assert ring.find(b"x" * 16) is None
    sent = add_key(files, "web-shop", "write")
    find_soon(ring, sent, name="web-shop")
    assert files.further_keys.stat().st_mode & 0o777 == 0o600
    assert sent not in files.further_keys.read_text()
    key = ring.find(sent.encode())
    assert (key.may("read"), key.may("write"), key.may("admin")) == (True, True, False)
    cookie = ring.begin_session(key)
    assert ring.find_session(cookie) == key
    remove_key(files, "web-shop")
    find_soon(ring, sent, name=None)
    assert ring.find_session(cookie) is None
    assert ring.find(KEY.encode()).name == "owner"


def test_a_damaged_file_keeps_the_keys_and_is_refused_by_commands(files: AccessFiles) -> None:
    sent = add_key(files, "a", "read")
    ring = KeyRing(files, owner_key=KEY)
    assert ring.find(sent.encode()).name == "a"
    for content in ("", "[]", '{"keys": [{"name": "a", "role": "god", "sha256": "00"}]}'):
        files.further_keys.write_text(content)
        time.sleep(0.6)
        assert ring.find(sent.encode()).name == "a"
        with pytest.raises(ConfigError, match="is damaged; restore or remove it"):
            read_keys(files)


@pytest.mark.parametrize(
    ("ending", "content", "message"),
    [
        (".key", b"short", "is below 16 characters; write a longer one"),
        (".key", b"\xff" * 20, "cannot be read; write the key in one line"),
        (".keys", b"[]", "is damaged; restore or remove it"),
        (".keys", b"\xff", "is damaged; restore or remove it"),
    ],
)
def test_a_bad_file_is_refused_at_the_start_and_told_once_later(
    files: AccessFiles, caplog, ending: str, content: bytes, message: str
) -> None:
    key = make_owner_key(files)
    ring = KeyRing(files)
    files.base.with_name(files.base.name + ending).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        KeyRing(files)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            ring._looked = float("-inf")
            assert ring.find(key.encode()).name == "owner"
    (line,) = caplog.messages
    assert message in line


def test_a_node_does_not_start_with_a_bad_file(files: AccessFiles, monkeypatch) -> None:
    files.further_keys.write_text("[]")
    ended: list[bool] = []
    service = SimpleNamespace(close=lambda: ended.append(True))
    monkeypatch.setattr("client.serving.service.startup.open_service", lambda *_, **__: service)
    result = CliRunner().invoke(serve, ["--store", str(files.base)])
    assert isinstance(result.exception, ConfigError)
    assert result.exception.exit_code == 2
    assert ended == [True]


def test_a_file_that_could_not_be_read_is_tried_again(files: AccessFiles, monkeypatch) -> None:
    ring = KeyRing(files, owner_key=KEY)
    sent = add_key(files, "a", "read")
    with monkeypatch.context() as failing:
        failing.setattr(Path, "read_text", lambda _: (_ for _ in ()).throw(OSError("EIO")))
        ring._looked = float("-inf")
        assert ring.find(sent.encode()) is None
    ring._looked = float("-inf")  # the file has not changed since
    assert ring.find(sent.encode()).name == "a"


@pytest.mark.parametrize("name", ["owner", "a", "", "x" * 41, "a b", "../a", "ä"])
def test_a_name_is_taken_once_and_plain(files: AccessFiles, name: str) -> None:
    add_key(files, "a", "read")
    with pytest.raises(ConfigError, match="choose another name"):
        add_key(files, name, "read")
    with pytest.raises(ConfigError, match="is no further key"):
        remove_key(files, "b")


def test_sessions_end_and_are_not_forged() -> None:
    ring = KeyRing(owner_key=KEY)
    key = ring.find(KEY.encode())
    cookie = ring.begin_session(key, now=1000.0)
    assert ring.find_session(cookie, now=999.0 + SESSION_SECONDS) == key
    assert ring.find_session(cookie, now=1001.0 + SESSION_SECONDS) is None
    name, ends, mac = cookie.split(".")
    for forged in (
        f"{name}.{int(ends) + 9}.{mac}",
        f"other.{ends}.{mac}",
        f"{name}.{ends}.{'0' * 64}",
        f"{name}.{ends}",
        f"{name}.-1.{mac}",
        "",
        "ü.1.é",
        f"{name}.{'9' * 5000}.{mac}",
    ):
        assert ring.find_session(forged, now=1000.0) is None
    assert KeyRing(owner_key=KEY[::-1]).find_session(cookie, now=1000.0) is None


def test_what_the_files_hold_makes_no_session() -> None:
    cookie = KeyRing(owner_key=KEY).begin_session(ApiKey("owner", "admin", sha256_of(KEY)))
    assert KeyRing(owner_key=KEY).find_session(cookie) is None


def test_files_of_a_database_on_a_server_name_no_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    files = AccessFiles.beside("postgresql://user:secret@db/shop")
    assert files.owner_key.parent == tmp_path / "fedprofile"
    assert "secret" not in str(files.base)
    assert files == AccessFiles.beside("postgresql://user:other@db/shop")
    assert files != AccessFiles.beside("postgresql://user:other@db2/shop")
    assert AccessFiles.beside("sqlite:////data/shop.db").audit == Path("/data/shop.db.audit.jsonl")
    assert make_owner_key(files) is not None
    assert list((tmp_path / "fedprofile").iterdir()) == [files.owner_key]


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("GET", "/api/recommend/u1", "read"),
        ("HEAD", "/metrics", "read"),
        ("POST", "/api/session/recommend", "read"),
        ("POST", "/api/feedback", "write"),
        ("PUT", "/api/items", "write"),
        ("PATCH", "/api/items/i1", "write"),
        ("POST", "/api/bulk", "write"),
        ("DELETE", "/api/users/u1", "admin"),
        ("DELETE", "/api/feedback/e1", "admin"),
        ("POST", "/api/adapter/reload", "admin"),
        ("PUT", "/api/settings/deny", "admin"),
        ("GET", "/api/users/u1/export", "admin"),
        ("GET", "/api/users/a\nb/export", "admin"),
    ],
)
def test_the_role_that_a_request_needs(method: str, path: str, role: str) -> None:
    assert needed_role(method, path) == role
