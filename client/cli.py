"""`fedprofile node`: what one shop runs on its own machine."""

from __future__ import annotations

import click

from shared.cli import LazyGroup

SERVING = "client.serving.cli"
COMMANDS = {
    "serve": (SERVING, "serve", "answer recommendations over HTTP"),
    "evaluate": (SERVING, "evaluate", "learn and report the fusion weights on the shop's data"),
    "import": (SERVING, "import_", "import items, users and events into the shop's database"),
}
"""Name -> module, attribute, one line of help."""


@click.group(cls=LazyGroup, table=COMMANDS)
def node() -> None:
    """Run one shop's node: recommendations from its own machine."""
