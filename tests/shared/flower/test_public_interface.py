"""Flower's insides are used in one room alone, so that a new Flower is one room's work."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from flwr.common import constant
from flwr.superlink.cli import flower_superlink

import shared.flower
from shared.errors import RunError
from shared.flower import patches
from shared.runtime.environment import ROOT

PUBLIC = {"flwr.app", "flwr.clientapp", "flwr.clientapp.typing", "flwr.serverapp"}
PUBLIC |= {"flwr.serverapp.strategy", "flwr.simulation"}
ROOM = ROOT / "shared" / "flower"
FOLDERS = ("shared", "client", "server", "simulation")


def imported(path: Path) -> set[str]:
    """Names all modules that a file imports, also within functions."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            modules |= {node.module}
    return modules


def test_only_one_room_imports_what_is_not_public() -> None:
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            flower = {m for m in imported(path) if m.split(".")[0] == "flwr"}
            assert path.is_relative_to(ROOM) or flower <= PUBLIC, path


def test_a_name_of_public_modules_that_is_private_is_not_imported_either() -> None:
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module in PUBLIC:
                    assert all(not alias.name.startswith("_") for alias in node.names), path


def test_every_patch_stands_in_the_table_of_the_room() -> None:
    table = str(shared.flower.__doc__)
    calls = 0
    for path in ROOM.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = (
                node.func.id
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
                else ""
            )
            if name != "patch_attribute":
                continue
            calls += 1
            module = ".".join(path.relative_to(ROOM).with_suffix("").parts)
            rows = [line for line in table.splitlines() if line.startswith(f"| `{module}`")]
            for keyword in node.keywords:
                assert keyword.arg is not None
                assert re.search(rf"\b{keyword.arg}\b", "".join(rows)), (module, keyword.arg)
    assert calls >= 9


def test_a_name_that_flower_lacks_is_an_error() -> None:
    with pytest.raises(RunError, match=r"flwr=\S+ has no flwr\.common\.constant\.NO_SUCH_NAME"):
        patches.patch_attribute(constant, NO_SUCH_NAME=1)


def test_flower_reads_the_environment_that_keeps_it_quiet() -> None:
    read = {
        "FLWR_TELEMETRY_ENABLED": "supercore/telemetry.py",
        "FLWR_DISABLE_UPDATE_CHECK": "supercore/update_check.py",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "superlink/cli/flower_superlink.py",
    }
    assert set(read) == set(patches.QUIET_ENVIRONMENT)
    root = Path(constant.__file__).parents[1]
    for name, path in read.items():
        assert re.search(rf"\bos\.getenv\(\"?{name}\b", (root / path).read_text()), name
    assert callable(flower_superlink)
