"""The thin app bundle: a name that makes the installed code run, and the hashes that nodes allow.

Flower sends a bundle (FAB) from server to node and would run the code in it. This one holds none,
and is the same bytes for everybody with the same fedprofile; a node allows no other, and never
unpacks or imports any bundle.
"""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path

from shared.runtime.environment import ROOT

README = """# fedprofile

This bundle holds no code. Server and nodes run the fedprofile that their owners installed.
"""
PROJECT = """[project]
name = "fedprofile"
version = "{version}"
license = {{ text = "Apache-2.0" }}

[tool.flwr.app]
publisher = "fedprofile"
fab-include = ["README.md"]

[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "client.app:app"

[tool.flwr.app.config]
"""
CODE_FOLDERS = ("shared", "client")
"""What a node runs."""


def thin_bundle() -> bytes:
    """Builds the bundle of the installed version."""
    from flwr.cli.build import build_fab_from_files

    project = PROJECT.format(version=metadata.version("fedprofile"))
    content, _ = build_fab_from_files(
        {"pyproject.toml": project.encode(), "README.md": README.encode()}
    )
    return bytes(content)


def bundle_hash(content: bytes) -> str:
    """SHA-256 of a bundle, as Flower names it."""
    return hashlib.sha256(content).hexdigest()


def package_hash(root: Path = ROOT) -> str:
    """SHA-256 over names and content of all code that a node runs."""
    state = hashlib.sha256()
    for folder in CODE_FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            state.update(f"{path.relative_to(root).as_posix()}\x1f{content}\x1e".encode())
    return state.hexdigest()
