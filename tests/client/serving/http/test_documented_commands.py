"""The curl and Python commands of docs/serve.md, run as they stand against a real node."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest

from client.serving.access.keys import AccessFiles, KeyRing, make_owner_key
from tests import ROOT
from tests.client.serving.http.test_page import ledger_of, served
from tests.client.serving.small_service import opened

PAGE = ROOT / "docs" / "serve.md"
ADDRESS = "http://127.0.0.1:8080/"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on the path")
def test_the_commands_of_the_page_work_in_order(tmp_path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    commands = re.findall(r"^curl .*$", text, re.MULTILINE)
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(commands) == 33
    answers = {}
    access = AccessFiles(tmp_path / "shop.db")
    make_owner_key(access)
    with served(opened(tmp_path, ledger=ledger_of(tmp_path)), KeyRing(access)) as url:
        for command in commands:
            shown = command.replace(ADDRESS, url).replace("curl -s", "curl -sS --fail-with-body", 1)
            done = subprocess.run(
                ["bash", "-c", shown], capture_output=True, text=True, cwd=tmp_path
            )
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            answers[command] = json.loads(done.stdout.splitlines()[0])  # the export has many
        program = program.replace(ADDRESS.rstrip("/"), url.rstrip("/"))
        ran = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path
        )
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.splitlines()) == 5

    def answer(part: str) -> dict[str, Any]:
        """What the first command with that part was answered."""
        return next(found for command, found in answers.items() if part in command)

    assert len(answer("/api/recommend/u1?n=5")["items"]) == 5
    again = answer("/api/recommend/u1?surface=buy-again")["items"]
    assert "i4" in [entry["item_id"] for entry in again]
    assert answer("/api/search")["items"][0]["item_id"] == "tea-1"
    assert answer("/api/bulk")["stored"] == 1
    assert answer("PATCH")["price"] == 4.5
    assert answer("/api/settings/deny")["items"] == ["i5"]
    assert answer("/api/users/u1/dislikes'")["items"] == ["i5"]
    assert answer("/api/privacy/verify")["ok"] is True
