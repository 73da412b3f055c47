"""Which packages a run would import: versions, bounds, pins, and that ours are ours.

Remedies fit the installation: `make install` in a checkout, pip for whoever installed a wheel.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from shared.commands.checks import Check
from shared.runtime import environment

OWN_PACKAGES = ("shared", "client", "server", "simulation")
IMPORTED_FROM = "import json, fedprofile; print(json.dumps(fedprofile.foreign_packages()))"
"""What a process started from here, such as Flower's, imports in place of our packages."""
AGAIN = ("install", "--force-reinstall", "--no-deps")
OWN_ENVIRONMENT = "install fedprofile into an environment of its own (`python3 -m venv DIR`)"


def install(requirement: str | None = None) -> str:
    """Returns the remedy for what is missing or of another version.

    Args:
        requirement: As pip takes it; None for fedprofile itself.
    """
    if environment.in_checkout():
        return "run `make install`, or `pip install -c constraints.txt -e '.[dev,docs]'`"
    return f"run `{_pip('install', requirement or _own_source())}`"


def install_again(name: str) -> str:
    """Returns the remedy for files of a package that are not as they should be."""
    version = environment.installed_version(name)
    wanted = name if version is None else f"{name}=={version.split('+')[0]}"
    return f"run `{_pip(*AGAIN, wanted)}`"


def check_packages(pinned: dict[str, str]) -> list[Check]:
    """Each direct dependency is there, within its bounds, and at its pin where there is one."""
    try:
        requirements = environment.requirements()
    except metadata.PackageNotFoundError:
        return [Check("fedprofile", False, True, "not installed", install())]
    checks = []
    for requirement in sorted(requirements, key=lambda requirement: requirement.name):
        name, remedy = requirement.name, install(str(requirement))
        version, pin = environment.installed_version(name), pinned.get(environment.normalised(name))
        if version is None:
            checks.append(Check(name, False, True, "not installed", remedy))
        elif not requirement.specifier.contains(version, prereleases=True):
            value = f"{version}, but {requirement.specifier} is required"
            checks.append(Check(name, False, True, value, remedy))
        elif pin is not None and version.split("+")[0] != pin.split("+")[0]:
            checks.append(Check(name, False, False, f"{version}, but {pin} is pinned", remedy))
        else:
            checks.append(Check(name, True, True, version))
    return checks


def check_own_packages() -> list[Check]:
    """No folder and no other distribution stands in the place of one of our four packages.

    Their names are common ones; what Python imports instead fails later, far from the cause.
    """
    checks = [*_foreign_folders(), *_same_names(metadata.packages_distributions())]
    return checks or [Check("own packages", True, True, str(environment.ROOT))]


def _foreign_folders() -> list[Check]:
    command = [sys.executable, "-P", "-c", IMPORTED_FROM]  # -P: without the working directory
    process = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if process.returncode:
        last = (process.stderr.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        value = f"cannot be imported: {last}"
        return [Check("own packages", False, True, value, _install_own_again())]
    foreign: dict[str, str] = json.loads(process.stdout)
    return [
        Check(
            f"package {name}",
            False,
            True,
            f"would be imported from {place}, not from {environment.ROOT / name}",
            _make_way(Path(place)),
        )
        for name, place in foreign.items()
    ]


def _make_way(place: Path) -> str:
    entries = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if place.parent in [Path(entry).resolve() for entry in entries]:
        return f"take {place.parent} out of PYTHONPATH, or rename {place}"
    return f"rename {place}, or {OWN_ENVIRONMENT}"


def _same_names(distributions: Mapping[str, Sequence[str]]) -> list[Check]:
    checks = []
    for package in OWN_PACKAGES:
        for other in sorted({*distributions.get(package, ())} - {"fedprofile"}):
            value = f"distribution {other} installs a package of this name too"
            remedy = f"run `{_pip('uninstall', other)}`, then {_install_own_again()}"
            checks.append(Check(f"package {package}", False, True, value, remedy))
    return checks


def _install_own_again() -> str:
    return install() if environment.in_checkout() else f"run `{_pip(*AGAIN, _own_source())}`"


def _pip(*words: str) -> str:
    return shlex.join([sys.executable, "-m", "pip", *words])


def _own_source() -> str:
    """What pip installed fedprofile from: a wheel's address, or the name on an index."""
    try:
        distribution = metadata.distribution("fedprofile")
    except metadata.PackageNotFoundError:
        return "fedprofile"
    origin = distribution.read_text("direct_url.json")
    address: str = json.loads(origin)["url"] if origin else f"fedprofile=={distribution.version}"
    return address
