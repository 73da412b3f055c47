from __future__ import annotations

import json
from pathlib import Path

import pytest

from client.serving.access.audit import AuditLog
from client.serving.access.keys import AccessFiles


def test_the_folder_of_a_log_is_made_for_its_owner_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    files = AccessFiles.beside("postgresql://user:secret@db/shop")
    AuditLog(files.audit).add(method="DELETE", key=None)
    assert json.loads(files.audit.read_text())["method"] == "DELETE"
    assert files.audit.parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    AuditLog(tmp_path / "audit.jsonl").add(method="DELETE")
    assert tmp_path.stat().st_mode & 0o777 == 0o755
