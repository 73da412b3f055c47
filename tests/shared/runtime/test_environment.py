from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from shared.runtime import environment


def test_capture_states_this_machine() -> None:
    found = environment.capture(device="cpu")
    assert found.python == platform.python_version()
    assert found.device == "cpu"
    assert found.cores >= 1
    assert found.memory_mb > 100
    assert found.packages["torch"].startswith("2.")
    assert "pytest" not in found.packages


def test_pins_are_read_by_canonical_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "constraints.txt").write_text("# a==1\nTyping_Ext.x==1.2\n\nb==3.0\n")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    assert environment.pins() == {"typing-ext-x": "1.2", "b": "3.0"}


def test_without_a_repository_there_are_no_pins_and_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    assert environment.pins() == {}
    assert environment.git_commit() is None


def test_every_dependency_is_pinned() -> None:
    pinned = environment.pins()
    assert [n for n in environment.dependencies() if environment.normalised(n) not in pinned] == []


def test_the_commit_tells_whether_files_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-qm", "one")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    assert environment.git_commit() == git("rev-parse", "HEAD")
    (tmp_path / "file").write_text("two")
    assert environment.git_commit() == git("rev-parse", "HEAD") + "+changes"
