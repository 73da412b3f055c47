"""The `fedprofile` command: its subcommands are imported when they are asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import click

from shared.errors import FedprofileError, Remedy

COMMANDS = {
    "simulate": ("simulation.cli", "simulate", "run a private federated simulation"),
    "doctor": ("shared.commands.doctor", "doctor", "say what is installed and what is missing"),
    "privacy": (
        "shared.commands.privacy",
        "privacy",
        "plan, watch, verify and report shops' budgets",
    ),
    "server": ("server.cli", "server", "coordinate a federation of shops"),
    "node": ("client.cli", "node", "run one shop's node: take part, and recommend"),
    "uses": ("simulation.uses.cli", "uses", "answer other questions on the same data"),
    "bench": ("simulation.bench.cli", "bench", "measure time and memory on this machine"),
}
"""Name -> module, attribute, one line of help."""


class LazyGroup(click.Group):
    """A group whose commands live in modules that are imported on use.

    Args:
        table: Name -> module, attribute, one line of help.
        **attributes: As `click.Group` takes them.
    """

    def __init__(self, *, table: Mapping[str, tuple[str, str, str]], **attributes: Any) -> None:
        super().__init__(**attributes)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names all commands."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Imports a command."""
        if cmd_name not in self._table:
            return None
        module, attribute, _ = self._table[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Lists the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in self._table.items()])


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each command has --help. What a run writes: docs/report.md.",
)
@click.version_option(metadata.version("fedprofile"), prog_name="fedprofile")
def root() -> None:
    """Shops recommend better together without showing anybody their customers."""


RESUMED_BY_ANOTHER = (["server", "run"], ["server", "resume"])
"""Commands whose work a command of its own takes up."""


def options_of(arguments: Sequence[str]) -> set[str]:
    """Returns the options of the command that these arguments name, without `--`."""
    command: click.Command = root
    context = click.Context(command)
    for argument in arguments:
        if not isinstance(command, click.Group):
            break
        chosen = command.get_command(context, argument)
        if chosen is not None:
            command = chosen
    return {option.removeprefix("--") for parameter in command.params for option in parameter.opts}


def main() -> None:
    """Runs the command line; a user's mistake is one line on stderr, never a stack trace."""
    try:
        root.main(standalone_mode=False)
    except FedprofileError as error:
        click.echo(f"fedprofile: {error.told(options_of(sys.argv[1:]))}", err=True)
        sys.exit(error.exit_code)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        options = options_of(sys.argv[1:])
        can_resume = "resume" in options or sys.argv[1:3] in RESUMED_BY_ANOTHER
        advice = Remedy("continue with --resume" if can_resume else "run it again").words(options)
        click.echo(f"fedprofile: interrupted; {advice}", err=True)
        sys.exit(130)
