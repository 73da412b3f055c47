"""Processes that wait or look carry no torch: memory and start of every node and command."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import ROOT

HEAVY = ("torch", "opacus", "transformers", "peft")


@pytest.mark.parametrize(
    "module",
    [
        "client.deploy.node_process",
        "client.deploy.setup",
        "server.coordinator.superlink_process",
        "server.coordinator.setup",
        "server.runs.supervision",
    ],
)
def test_what_waits_imports_nothing_that_trains(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
