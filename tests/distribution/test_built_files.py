"""What wheel and sdist hold, built as for a release."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests import ROOT

PACKAGES = ("client", "server", "shared", "simulation")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with both, built from a copy so that the checkout stays as it is."""
    source, out = tmp_path_factory.mktemp("build") / "source", tmp_path_factory.mktemp("dist")
    at_top = shutil.ignore_patterns(".venv", ".git", "runs", "build", "dist", "site", "*.egg-info")
    shutil.copytree(
        ROOT,
        source,
        ignore=lambda folder, names: {
            *(at_top(folder, names) if Path(folder) == ROOT else ()),
            *shutil.ignore_patterns("__pycache__", ".*_cache")(folder, names),
        },
    )
    command = [sys.executable, "-m", "build", "--outdir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return out


def source_files(*folders: str) -> set[str]:
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    return {str(p.relative_to(ROOT)) for p in paths if "__pycache__" not in p.parts}


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == source_files(*PACKAGES) | {"fedprofile.py"}
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


def test_the_sdist_holds_what_a_packager_needs(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = source_files(*PACKAGES, "docs", "deploy", "tests")
    assert wanted - names == set()
    assert {"constraints.txt", "CHANGELOG.md", "LICENSE", "Makefile", ".ci/run"} <= names


def test_metadata_says_linux_and_typed(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(wheel.read(name).decode())
    classifiers = metadata.get_all("Classifier") or []
    assert {"Operating System :: POSIX :: Linux", "Typing :: Typed"} <= {*classifiers}
    assert "flwr[simulation]<1.42,>=1.41" in (metadata.get_all("Requires-Dist") or [])
