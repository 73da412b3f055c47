"""Every remedy in the code, as every command tells it: no advice names what does not exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from shared.cli import options_of, root
from shared.errors import Remedy
from shared.runtime.environment import ROOT

FOLDERS = ("shared", "client", "server", "simulation")
OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")
COMMAND = re.compile(r"`fedprofile ([^`]*)`")


def texts(node: ast.expr) -> Iterator[str]:
    """Yields the texts that an expression can give; what is filled in later is `X`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        parts = (p.value if isinstance(p, ast.Constant) else "X" for p in node.values)
        yield "".join(map(str, parts))
    elif isinstance(node, ast.IfExp):
        yield from (*texts(node.body), *texts(node.orelse))
    elif isinstance(node, ast.BinOp):
        yield from (l + r for l in texts(node.left) for r in texts(node.right))  # noqa: E741
    elif isinstance(node, ast.Dict):
        for value in node.values:
            yield from texts(value)
    elif isinstance(node, ast.Call) and ast.unparse(node.func) == "Remedy":
        for argument in node.args:
            yield from texts(argument)


def remedies(path: Path) -> Iterator[str]:
    """Yields all remedies of a file: arguments, attributes and local names that are called so."""
    for node in ast.walk(ast.parse(path.read_text())):
        named: list[ast.expr] = node.targets if isinstance(node, ast.Assign) else []
        is_argument = isinstance(node, ast.keyword) and node.arg == "remedy"
        if is_argument or any("remed" in ast.unparse(target).lower() for target in named):
            assert isinstance(node, ast.keyword | ast.Assign)
            yield from texts(node.value)


REMEDIES = sorted(
    {text for f in FOLDERS for path in (ROOT / f).rglob("*.py") for text in remedies(path)}
)


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yields the words of every command that does something."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from leaves(child, (*path, name))
        if not command.invoke_without_command:
            return
    yield path


COMMANDS = {words: options_of(words) for words in leaves(root)}
EVERY_OPTION = set().union(*COMMANDS.values())


def command_of(text: str) -> tuple[str, ...]:
    """Returns the words of a command line that name the command itself."""
    words: tuple[str, ...] = ()
    for word in text.split():
        if (*words, word) not in {path[: len(words) + 1] for path in COMMANDS}:
            break
        words = (*words, word)
    return words


def test_there_are_remedies_and_commands_to_go_through() -> None:
    assert len(REMEDIES) > 150
    assert {("simulate",), ("server", "run"), ("privacy", "plan")} <= set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_remedy_as_a_command_tells_it_names_an_option_that_the_command_lacks(
    words: tuple[str, ...],
) -> None:
    for text in REMEDIES:
        told = re.sub("`[^`]*`", "", Remedy(text).words(COMMANDS[words]))
        assert set(OPTION.findall(told)) <= COMMANDS[words], text


@pytest.mark.parametrize("text", [text for text in REMEDIES if "--" in text])
def test_an_option_that_a_remedy_names_exists(text: str) -> None:
    assert set(Remedy(text).options) <= EVERY_OPTION


@pytest.mark.parametrize("text", [text for text in REMEDIES if COMMAND.search(text)])
def test_a_whole_command_in_a_remedy_exists_with_its_options(text: str) -> None:
    for line in COMMAND.findall(text):
        words = command_of(line)
        assert words in COMMANDS, line
        assert set(OPTION.findall(line)) <= COMMANDS[words], line


def test_a_run_of_a_coordinator_goes_on_by_a_command_of_its_own() -> None:
    remedy = Remedy("mend the shops, then continue with --resume")
    assert remedy.words(COMMANDS["simulate",]) == remedy.text
    told = remedy.words(COMMANDS["server", "run"])
    assert told == "mend the shops, then continue with `fedprofile server resume`"
