"""Reads the files of deploy/: which commands of ours stand in them."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml

from shared.cli import root
from tests import ROOT

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
BESIDE_NODE = DEPLOY / "systemd" / "fedprofile-serve.service.d" / "node.conf"
PAGES = [ROOT / "docs" / "deploy.md", ROOT / "docs" / "serve.md", ROOT / "README.md"]
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
IMAGE = "fedprofile"
VALUES = {"N": "7", "$EPSILON": "8", "$DELTA": "1e-6", "$TIME_UNIT": "days", "$UNIT": "user"}
"""What a shell puts in place of names that are not plain words."""
OURS = re.compile(r"(?:\bfedprofile|run --rm (?:server|node)) ((?:server|node) .*)")
"""Our command in a line of a script, a comment or the page, also behind compose's `run`."""


def parse(words: list[str]) -> click.Context:
    """Parses a command line as the program would, without running it."""
    command: click.Command = root
    context = click.Context(root, info_name="fedprofile")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None:
            break
        command, context = found, click.Context(found, info_name=words[0], parent=context)
        words = words[1:]
    group = isinstance(command, click.Group) and not command.invoke_without_command
    assert not group or not words, f"no such command: {words}"
    return command.make_context(command.name, list(words))


def in_text(text: str) -> Iterator[list[str]]:
    """Commands in scripts, comments and pages."""
    for line in text.replace("\\\n", " ").splitlines():
        for found in OURS.finditer(line):
            words = shlex.split(found[1].split("`")[0], comments=True)
            yield [VALUES.get(word, word) for word in words]


def manifests() -> Iterator[dict[str, Any]]:
    for path in MANIFESTS:
        yield from yaml.safe_load_all(path.read_text())


def containers() -> Iterator[dict[str, Any]]:
    """All containers of all pods."""
    for manifest in manifests():
        if manifest["kind"] == "StatefulSet":
            pod = manifest["spec"]["template"]["spec"]
            yield from [*pod["initContainers"], *pod["containers"]]


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yml").read_text())
    return found["services"]


def unit(path: Path) -> configparser.ConfigParser:
    """Reads a unit or what is added to one; of a key that is named twice the last counts."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text())
    return parser


def dockerfile() -> dict[str, list[str]]:
    """The words of instructions that are given as JSON; the last of each name."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    found = re.findall(r"^(?:HEALTHCHECK .*)?(CMD|ENTRYPOINT) (\[.*\])$", text, re.MULTILINE)
    return {name: json.loads(words) for name, words in found}


def commands() -> Iterator[tuple[str, list[str]]]:
    """File and words of every command of ours in deploy/ and on the pages."""
    for path in (*UNITS, BESIDE_NODE):
        words = shlex.split(unit(path)["Service"]["ExecStart"])
        assert words[0].endswith("/fedprofile")
        yield path.name, words[1:]
    for name, service in services().items():
        if service.get("image", IMAGE) == IMAGE and "entrypoint" not in service:
            yield f"compose {name}", service["command"]
    for container in containers():
        if container["image"] == IMAGE and "command" not in container:
            yield f"kubernetes {container['name']}", container["args"]
    files = [DEPLOY / "compose.yml", *UNITS, *MANIFESTS, *PAGES]
    for path in files:
        text = "".join(
            line.removeprefix("#") if line.startswith("#") else line
            for line in path.read_text().splitlines(keepends=True)
        )
        if path.suffix == ".md":
            blocks = re.findall(r"^```\w*[a-z ]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
            text = "\n".join(blocks)
        yield from ((path.name, words) for words in in_text(text))
