from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make")


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    return subprocess.run(
        ["make", "-C", str(folder), *arguments],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The Makefile next to an installed environment."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
        os.utime(tmp_path / name, (1_000, 1_000))
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "installed").touch()
    return tmp_path


TARGETS = ["simulate", "test", "check", "lint", "types", "contracts", "docs", "dist", "bench"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_second_call_installs_nothing(project: Path, target: str) -> None:
    assert "pip install" not in make(project, "-n", target).stdout


@pytest.mark.parametrize("changed", ["constraints.txt", "pyproject.toml"])
def test_a_change_of_pins_or_requirements_installs_again(project: Path, changed: str) -> None:
    os.utime(project / changed, (9e9, 9e9))
    assert "pip install" in make(project, "-n", "test").stdout


def test_install_is_pinned_and_simulate_passes_its_arguments(project: Path) -> None:
    (project / ".venv" / "installed").unlink()
    assert "-c constraints.txt -e '.[dev,docs]'" in make(project, "-n", "test").stdout
    planned = make(project, "-n", "simulate", "ARGS=--epsilon 3").stdout
    assert ".venv/bin/fedprofile simulate --epsilon 3" in planned


def test_an_old_python_stops_with_one_line_and_leaves_no_stamp(project: Path) -> None:
    (project / ".venv" / "installed").unlink()
    result = make(project, "test", "PYTHON=false")
    assert result.returncode == 2
    assert "PYTHON=false must be Python 3.11 or later; try: make test" in result.stderr
    assert not (project / ".venv" / "installed").exists()


def test_check_leaves_out_slow_tests_and_test_does_not(project: Path) -> None:
    assert '-m "not slow"' in make(project, "-n", "check").stdout
    assert "not slow" not in make(project, "-n", "test").stdout


def test_clean_keeps_runs(project: Path) -> None:
    (project / "runs").mkdir()
    assert make(project, "clean").returncode == 0
    assert not (project / ".venv").exists()
    assert (project / "runs").exists()


def test_check_passes_all_gates(project: Path) -> None:
    planned = make(project, "-n", "check").stdout
    gates = ("ruff check", "ruff format --check", "mypy", "lint-imports", "pytest")
    assert [gate for gate in gates if gate not in planned] == []


@pytest.mark.parametrize("name", ["run", "wheel"])
def test_scripts_of_continuous_integration_parse(name: str) -> None:
    script = ROOT / ".ci" / name
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


def test_continuous_integration_runs_each_gate() -> None:
    commands = (ROOT / ".ci" / "run").read_text().splitlines()
    gates = ["make lint types contracts", "make dist", ".ci/wheel", "make test"]
    assert [line for line in commands if line in gates] == gates
    assert "set -euo pipefail" in commands, "a gate that fails ends the script"
