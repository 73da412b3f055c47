"""`fedprofile node`: what one shop runs on its own machine."""

from __future__ import annotations

import click

from shared.cli import LazyGroup

DEPLOY, SERVING = "client.deploy.cli", "client.serving.cli"
OWNER = "client.deploy.owner_commands"
STORE = "client.store.cli"
COMMANDS = {
    "key": (DEPLOY, "key", "make the node's key for the server's owner"),
    "init": (DEPLOY, "init", "make settings, ledger and store of a new node"),
    "check-data": (DEPLOY, "check_data", "show what would be trained on; nothing leaves"),
    "migrate": (DEPLOY, "migrate", "train on the shop's database from now on, not on a folder"),
    "start": (DEPLOY, "start", "take part in the federation until stopped"),
    "passphrase": (DEPLOY, "passphrase", "encrypt the node's private keys"),
    "status": (DEPLOY, "status", "show budget, ledger and what is served"),
    "ledger": (OWNER, "ledger", "restore the ledger from a backup, or renew its budget"),
    "roster": (OWNER, "roster", "see and accept who adds up together"),
    "max-users": (OWNER, "raise_users", "state that the shop may have more users"),
    "adapter": (DEPLOY, "adapter", "list the installed releases, or choose one"),
    "serve": (SERVING, "serve", "answer recommendations over HTTP"),
    "api-key": (SERVING, "api_key", "make and remove keys of the HTTP interface"),
    "evaluate": (SERVING, "evaluate", "learn and report the fusion weights on the shop's data"),
    "backup": (STORE, "backup", "write a copy of the shop's database"),
    "restore": (STORE, "restore", "put a backup in the database's place"),
    "consent": (STORE, "consent", "say who may be trained on"),
    "retention": (STORE, "retention", "say how long events are held"),
    "delete-user": (STORE, "delete_user", "delete a user with all events, for good"),
    "export-user": (STORE, "export_user", "print everything that is held about a user"),
    "import": (SERVING, "import_", "import items, users and events into the shop's database"),
}
"""Name -> module, attribute, one line of help."""


@click.group(cls=LazyGroup, table=COMMANDS)
def node() -> None:
    """Run one shop's node: take part in a federation, and recommend from its own machine."""
