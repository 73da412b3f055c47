"""The machine and the packages, as facts for reports and for `fedprofile doctor`."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel, ConfigDict

ROOT = Path(__file__).resolve().parent.parent
"""Folder that holds `shared/`: the repository, or site-packages of a wheel."""


class Environment(BaseModel):
    """Where a run took place."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    python: str
    """Version of Python."""
    os: str
    """Operating system and its version."""
    cpu: str
    """Name of the processor."""
    cores: int
    """Cores that this process may use."""
    memory_mb: int
    """Memory of the machine, MB (10^6 bytes)."""
    device: str
    """Where tensors lived."""
    git_commit: str | None
    """Commit of the source, `+changes` where files differ from it; null outside a repository."""
    packages: dict[str, str]
    """Direct dependency -> installed version."""


def capture(*, device: str) -> Environment:
    """Describes this machine; `device` is what the run computed on."""
    import psutil

    return Environment(
        python=platform.python_version(),
        os=platform.platform(),
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        memory_mb=psutil.virtual_memory().total // 10**6,
        device=device,
        git_commit=git_commit(),
        packages={name: v for name, v in dependencies().items() if v is not None},
    )


def dependencies() -> dict[str, str | None]:
    """Returns each direct dependency with its installed version, None where it is missing.

    Raises:
        metadata.PackageNotFoundError: fedprofile itself is not installed.
    """
    required = metadata.requires("fedprofile") or []
    names = [re.split(r"[\s\[<>=!~;]", r)[0] for r in required if "extra ==" not in r]
    return {name: installed_version(name) for name in names}


def installed_version(name: str) -> str | None:
    """Returns the installed version of a distribution, None where it is missing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def pins() -> dict[str, str]:
    """Returns name -> pinned version from `constraints.txt`; empty without a repository."""
    path = ROOT / "constraints.txt"
    lines = path.read_text().splitlines() if path.is_file() else []
    pairs = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {normalised(name): version.strip() for name, version in pairs}


def normalised(name: str) -> str:
    """Returns the canonical form of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def git_commit() -> str | None:
    """Returns the commit of the source, None outside a repository or without git."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return None
    base = [git, "-C", str(ROOT)]
    try:
        found = [
            subprocess.run([*base, *rest], capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
            for rest in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return found[0].stdout.strip() + ("+changes" if found[1].stdout.strip() else "")


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        match = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)
        if match:
            return match.group(1).strip()
    return platform.processor() or platform.machine()
