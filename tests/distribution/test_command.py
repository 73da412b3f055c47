"""`fedprofile` where a foreign package has one of our packages' names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT


def fedprofile(*arguments: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Runs the command with a folder in front of what Python imports from."""
    return subprocess.run(
        [sys.executable, "-c", "from fedprofile import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=path,
        env={**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{ROOT}"},
    )


@pytest.mark.parametrize("name", ["shared", "client", "server", "simulation"])
def test_a_foreign_package_is_named_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    result = fedprofile("--version", path=tmp_path)
    assert result.returncode == 2
    assert result.stderr == (
        f"fedprofile: {name}={tmp_path / name} must be {ROOT / name}; "
        "`fedprofile doctor` tells what to do\n"
    )


def test_a_foreign_module_is_one_too(tmp_path: Path) -> None:
    (tmp_path / "client.py").touch()
    result = fedprofile("node", "--help", path=tmp_path)
    assert result.returncode == 2
    assert f"client={tmp_path / 'client.py'} must be" in result.stderr


def test_a_folder_that_hides_nothing_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "server.txt").touch()
    result = fedprofile("--version", path=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")


def test_doctor_runs_all_the_same_and_tells_what_to_do(tmp_path: Path) -> None:
    for name in ("shared", "simulation"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    result = fedprofile("doctor", path=tmp_path)
    assert result.returncode == 1, result.stderr
    lines = [line.strip() for line in result.stdout.splitlines()]
    place = tmp_path / "shared"
    told = f"would be imported from {place}, not from {ROOT / 'shared'}"
    row = next(row for row, line in enumerate(lines) if line.endswith(told))
    assert lines[row].startswith("MISSING  package shared")
    assert lines[row + 1] == f"-> take {tmp_path} out of PYTHONPATH, or rename {place}"
    assert lines[-1] == "missing: package shared, package simulation"
