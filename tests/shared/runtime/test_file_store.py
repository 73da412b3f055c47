"""One way to write a file: whole or not at all, on the disk where promised, private where asked."""

from __future__ import annotations

import ast
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

import shared
from shared.errors import PrivacyError, StorageError
from shared.runtime.file_store import (
    draft_of,
    remove_drafts,
    write_atomic,
    write_folder_atomic,
)

ROOT = Path(shared.__file__).parent.parent
BYPASSES = {"mkstemp", "mkdtemp", "NamedTemporaryFile", "fsync", "fdatasync"}
"""Calls by which a module would write files in a way of its own."""
ALLOWED = {
    "shared/runtime/file_store.py",
    "simulation/bench/ledger.py",  # measures what fsync costs
}


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what was synced, in order, with the size that it had then."""
    names: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        status = os.fstat(descriptor)
        kind = "folder" if stat.S_ISDIR(status.st_mode) else f"file of {status.st_size}"
        names.append(f"{kind}, {'new' if (path.parent / 'a').exists() else 'no'} name")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return names


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def yields(value: bool) -> Iterator[bool]:
    yield value


def breaks(file: BinaryIO) -> None:
    file.write(b"half of ")
    file.flush()
    raise OSError(28, "No space left on device")


def test_durable_syncs_the_whole_content_before_the_rename_and_the_folder_after_it(
    tmp_path: Path, synced: list[str]
) -> None:
    write_atomic(tmp_path / "a", b"content", durable=True, private=False)
    assert synced[0] == "file of 7, no name"
    assert len(synced) == 2
    assert synced[1].startswith("folder")


def test_not_durable_syncs_nothing(tmp_path: Path, synced: list[str]) -> None:
    write_atomic(tmp_path / "a", b"content", durable=False, private=True)
    assert synced == []
    assert (tmp_path / "a").read_bytes() == b"content"


@pytest.mark.parametrize(("private", "expected"), [(True, 0o600), (False, 0o644)])
def test_private_files_are_the_owners_alone_from_the_first_byte_on(
    tmp_path: Path, private: bool, expected: int
) -> None:
    seen: list[int] = []

    def content(file: BinaryIO) -> None:
        file.write(b"secret")
        seen.append(stat.S_IMODE(os.fstat(file.fileno()).st_mode))

    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o644)
    before = os.umask(0o022)
    try:
        write_atomic(path, content, durable=False, private=private)
    finally:
        os.umask(before)
    assert (mode(path), seen) == (expected, [expected])


@pytest.mark.parametrize("refusal", [StorageError, PrivacyError])
def test_a_refusal_leaves_the_old_file_and_no_draft(
    tmp_path: Path, refusal: type[StorageError] | type[PrivacyError]
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(refusal) as caught:
        write_atomic(
            path,
            breaks,
            durable=True,
            private=True,
            name="key",
            refusal=refusal,
            remedy="free some space",
        )
    assert (caught.value.name, caught.value.value) == ("key", path)
    assert str(caught.value) == (
        f"key={path} cannot be written (No space left on device); free some space"
    )
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a"]


def test_any_failure_leaves_no_draft(tmp_path: Path) -> None:
    def interrupted(_: BinaryIO) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "a", interrupted, durable=False, private=False)
    assert names_in(tmp_path) == []


def test_a_failed_sync_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def fails(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StorageError, match="Input/output error"):
        write_atomic(tmp_path / "a", b"new", durable=True, private=False)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names_in(tmp_path) == ["a"]


def test_a_file_that_must_not_be_replaced_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomic(path, b"first", durable=True, private=True, overwrite=False)
    with pytest.raises(StorageError, match="File exists"):
        write_atomic(path, b"second", durable=True, private=True, overwrite=False)
    assert path.read_bytes() == b"first"
    assert names_in(tmp_path) == ["a"]


@pytest.mark.parametrize("wanted", [True, False])
def test_a_guard_decides_at_the_rename(tmp_path: Path, wanted: bool) -> None:
    path = tmp_path / "new" / "a"
    assert write_atomic(path, b"x", durable=False, private=True, guard=yields(wanted)) is wanted
    assert path.exists() is wanted
    assert names_in(path.parent) == (["a"] if wanted else [])


@pytest.mark.parametrize("private", [True, False])
def test_a_folder_is_replaced_as_a_whole(tmp_path: Path, private: bool, synced: list[str]) -> None:
    folder = tmp_path / "a"
    write_folder_atomic(folder, {"one": b"1", "two": b"2"}, private=private)
    write_folder_atomic(folder, {"three": b"3"}, private=private)
    assert [p.name for p in folder.iterdir()] == ["three"]
    assert (mode(folder) & 0o077 == 0, mode(folder / "three") & 0o077 == 0) == (private, private)
    assert names_in(tmp_path) == ["a"]
    assert [name.split(",")[0] for name in synced[-3:]] == ["file of 1", "folder", "folder"]


def test_a_folder_comes_back_where_the_new_one_cannot_be_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a"
    write_folder_atomic(folder, {"one": b"1"}, private=False)
    rename = Path.rename

    def refuses(path: Path, target: Path) -> Path:
        if target == folder and (path / "two").exists():
            raise OSError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuses)
    with pytest.raises(StorageError, match="Permission denied"):
        write_folder_atomic(folder, {"two": b"2"}, private=False)
    assert [p.name for p in folder.iterdir()] == ["one"]
    assert names_in(tmp_path) == ["a"]


def test_drafts_of_killed_processes_are_removed_and_no_others(tmp_path: Path) -> None:
    for name in (".draft-a-1234", ".draft-b-1234", "a"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".draft-a-5678").mkdir()
    remove_drafts(tmp_path / "a")
    assert names_in(tmp_path) == [".draft-b-1234", "a"]


@pytest.mark.parametrize("room", ["client", "server", "shared", "simulation"])
def test_no_module_writes_files_in_a_way_of_its_own(room: str) -> None:
    for path in sorted((ROOT / room).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        assert name in ALLOWED or not used & BYPASSES, name


def test_a_draft_takes_the_files_place_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "copy"
    target.write_text("before")

    class StopsError(Exception):
        pass

    def write(*, stop: bool) -> None:
        with draft_of(target, name="backup") as draft:
            assert mode(draft) == 0o600
            draft.write_text("after")
            assert target.read_text() == "before"
            if stop:
                raise StopsError

    with pytest.raises(StopsError):
        write(stop=True)
    assert target.read_text() == "before"
    write(stop=False)
    assert target.read_text() == "after"
    assert names_in(tmp_path) == ["copy"]
