"""Fixtures of several rooms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.deploy.installing import Pair


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """A coordinator and a node without a network."""
    # Imported here, or every test would wait for the imports of a whole deployment.
    from tests.deploy.installing import make_pair

    monkeypatch.setenv("FEDPROFILE_CACHE", str(tmp_path / "cache"))
    return make_pair(tmp_path)
