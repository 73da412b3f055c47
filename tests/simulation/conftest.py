"""Shops that a module's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.runs.least_squares_shops import LeastSquaresSource, write_shops
from tests.simulation.runs.scripted_shops import SHOPS
from tests.simulation.tiny_shops import write_tiny_shops


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny shops for the command."""
    return write_tiny_shops(tmp_path_factory.mktemp("world") / "data")


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, world: Path) -> None:
    """Encodings are kept beside the shops."""
    monkeypatch.setenv("FEDPROFILE_CACHE", str(world.parent / "cache"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> LeastSquaresSource:
    """Shops with a least squares problem each, for runs without a command."""
    return write_shops(tmp_path_factory.mktemp("shops"), num_shops=SHOPS)
