"""Fixtures of several rooms."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.deploy.installing import Pair

# A shell that starts the tests in the background makes them, and all that they start, deaf to
# Ctrl-C; a handler of our own is given up at an exec, so that the commands under test hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """A coordinator and a node without a network."""
    # Imported here, or every test would wait for the imports of a whole deployment.
    from tests.deploy.installing import make_pair

    monkeypatch.setenv("FEDPROFILE_CACHE", str(tmp_path / "cache"))
    return make_pair(tmp_path)
