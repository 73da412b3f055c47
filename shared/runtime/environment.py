"""The machine, the packages, the device and the cache folder.

Facts for reports and for `fedprofile doctor`. One rule says where tensors live: `--device
auto|cpu|cuda`.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from pydantic import BaseModel, ConfigDict

from shared.errors import ConfigError

if TYPE_CHECKING:
    import torch


ROOT = Path(__file__).resolve().parents[2]
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
    return {r.name: installed_version(r.name) for r in requirements()}


def requirements() -> list[Requirement]:
    """Returns the direct dependencies with their bounds, without those of extras.

    Raises:
        metadata.PackageNotFoundError: fedprofile itself is not installed.
    """
    parsed = [Requirement(line) for line in metadata.requires("fedprofile") or []]
    return [r for r in parsed if r.marker is None or r.marker.evaluate({"extra": ""})]


def installed_version(name: str) -> str | None:
    """Returns the installed version of a distribution, None where it is missing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def in_checkout() -> bool:
    """Whether this is the source with its Makefile, not an installed wheel."""
    return (ROOT / "Makefile").is_file()


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
        outputs = [
            subprocess.run([*base, *rest], capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
            for rest in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return outputs[0].stdout.strip() + ("+changes" if outputs[1].stdout.strip() else "")


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        match = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)
        if match:
            return match.group(1).strip()
    return platform.processor() or platform.machine()


def resolve_device(name: str) -> torch.device:
    """Turns a setting into a torch device.

    Args:
        name: `auto` (CUDA where there is one, else the CPU), `cpu` or `cuda`.

    Raises:
        ConfigError: The name is unknown, or CUDA is asked for and absent.
    """
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            "must be auto, cpu or cuda", name="device", value=f"{name!r}", remedy="change --device"
        )
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise ConfigError(
            f"needs a CUDA device and torch {torch.__version__} sees none",
            name="device",
            value="cuda",
            remedy="use --device auto, or install a CUDA build of torch and a driver",
        )
    return torch.device("cuda" if has_cuda and name != "cpu" else "cpu")


def describe_device(device: torch.device) -> str:
    """Says in words what `device` is, for reports: `CPU, 2 threads` or `NVIDIA H200, 140 GB`."""
    import torch

    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"
    return f"CPU, {torch.get_num_threads()} threads"


def cache_folder() -> Path:
    """Returns `$FEDPROFILE_CACHE`, else `fedprofile` in `$XDG_CACHE_HOME` or `~/.cache`."""
    chosen = os.environ.get("FEDPROFILE_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedprofile"
