"""`fedprofile node`: what one shop runs on its own machine."""

from __future__ import annotations

import click

from shared.cli import LazyGroup

DEPLOY, SERVING = "client.deploy.cli", "client.serving.cli"
OWNER = "client.deploy.owner_commands"
COMMANDS = {
    "key": (DEPLOY, "key", "make the node's key for the server's owner"),
    "init": (DEPLOY, "init", "make settings, ledger and store of a new node"),
    "check-data": (DEPLOY, "check_data", "show what would be trained on; nothing leaves"),
    "start": (DEPLOY, "start", "take part in the federation until stopped"),
    "passphrase": (DEPLOY, "passphrase", "encrypt the node's private keys"),
    "status": (DEPLOY, "status", "show budget, ledger and what is served"),
    "ledger": (OWNER, "ledger", "restore the ledger from a backup, or renew its budget"),
    "roster": (OWNER, "roster", "see and accept who adds up together"),
    "max-users": (OWNER, "raise_users", "state that the shop may have more users"),
    "adapter": (DEPLOY, "adapter", "list the installed releases, or choose one"),
    "serve": (SERVING, "serve", "answer recommendations over HTTP"),
    "evaluate": (SERVING, "evaluate", "learn and report the fusion weights on the shop's data"),
    "import": (SERVING, "import_", "import items, users and events into the shop's database"),
}
"""Name -> module, attribute, one line of help."""


@click.group(cls=LazyGroup, table=COMMANDS)
def node() -> None:
    """Run one shop's node: take part in a federation, and recommend from its own machine."""
