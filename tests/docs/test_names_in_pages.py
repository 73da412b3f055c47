"""Every file, module and class that a page or a docstring names exists under that name."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = "client|server|shared|simulation"
HISTORY = {"CHANGELOG.md"}
"""Pages that name what is gone."""
PATH = re.compile(
    rf"(?<![\w/.-])((?:{PACKAGES}|tests|docs|deploy|\.ci)/[\w./-]*\w/?)(?![\w*{{<])",
)
MODULE = re.compile(rf"(?<![\w./-])((?:{PACKAGES})(?:\.[A-Za-z_]\w*)+)")
NO_ATTRIBUTES = {
    "toml",
    "yaml",
    "jsonl",
    "json",
    "key",
    "pub",
    "crt",
    "pem",
    "py",
    "db",
    "css",
    "md",
    "html",
}
"""Endings that make `server.toml` a file and no attribute of a package."""
EXAMPLES = {"server/server.toml", "server/logs/server.jsonl"}
"""Files of a deployment whose folder has the name of a package."""
LINK = re.compile(r"\]\(([^)\s]+)\)")
FOREIGN = {"ExecStart"}
"""Names of other programs that look like classes."""
CLASS = re.compile(r"`([A-Z][a-z0-9]+(?:[A-Z][a-z0-9]+)+)`")


def pages() -> list[Path]:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.split()  # fmt: skip
    names = tracked or [str(path.relative_to(ROOT)) for path in ROOT.glob("**/*.md")]
    return sorted(ROOT / name for name in names if name not in HISTORY)


def sources() -> list[Path]:
    return sorted(p for name in PACKAGES.split("|") for p in (ROOT / name).rglob("*.py"))


@cache
def names_in(path: Path) -> frozenset[str]:
    """Names that a module defines or imports at any depth, attributes of its classes included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return frozenset(names)


def resolves(dotted: str, root: Path = ROOT) -> bool:
    """Whether a dotted name is a module below `root`, or an attribute that its module has."""
    place, parts = root, dotted.split(".")
    for number, part in enumerate(parts):
        if (place / part).is_dir():
            place /= part
            continue
        file = place / f"{part}.py"
        rest = parts[number + 1 :] if file.is_file() else parts[number:]
        file = file if file.is_file() else place / "__init__.py"
        return file.is_file() and set(rest) <= names_in(file)
    return True


def missing_links(page: Path) -> Iterator[str]:
    """Links to files that are not there; mkdocs looks at the pages in docs/ alone."""
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if not target.startswith(("http", "#")):
            file = target.partition("#")[0]
            if not (page.parent / file).exists():
                yield target


def docstrings(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
    return "\n".join(text for text in texts if isinstance(text, str) and " " in text)


def missing_paths(text: str) -> Iterator[str]:
    for path in PATH.findall(text):
        if "NAME" in path or "ROOM" in path or path in EXAMPLES:
            continue
        last = path.rstrip("/").rsplit("/", 1)[-1]
        if ("." in last or path.endswith("/")) and not (ROOT / path).exists():
            yield path


def missing_modules(text: str) -> Iterator[str]:
    for dotted in MODULE.findall(text):
        if dotted.rsplit(".", 1)[-1] not in NO_ATTRIBUTES and not resolves(dotted):
            yield dotted


@pytest.mark.parametrize("page", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert sorted({*missing_paths(text), *missing_modules(text), *missing_links(page)}) == []
    known = set().union(*(names_in(path) for path in sources()))
    assert sorted(set(CLASS.findall(text)) - known - FOREIGN) == []


def test_what_a_docstring_names_exists() -> None:
    missing = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources()
        for text in (docstrings(path),)
        for name in (*missing_paths(text), *missing_modules(text))
        if not resolves(name, path.parent)
    }
    assert sorted(missing) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("`shared/errors.py`, `tests/docs/`", []),
        ("`shared/gone.py`, `client/gone/`", ["client/gone/", "shared/gone.py"]),
        ("`shared.errors.FedprofileError`, `server.toml`", []),
        ("`shared.errors.Gone`, `client.gone`", ["client.gone", "shared.errors.Gone"]),
    ],
)  # fmt: skip
def test_a_name_that_is_gone_is_seen(text: str, names: list[str]) -> None:
    assert sorted((*missing_paths(text), *missing_modules(text))) == names
