"""`fedprofile server roster`: the list of shops that add up together."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from server.options import DIR
from shared.commands.options import PASSPHRASE_FILE
from shared.errors import ConfigError

if TYPE_CHECKING:
    from server.coordinator.folder import ServerFolder


@click.group()
def roster() -> None:
    """Make the list of shops that add up together, which all their owners accept."""


@roster.command()
@DIR
@click.option(
    "--max-missing",
    type=click.IntRange(0),
    help="Shops that may be missing from a sum.  [default: as before; at first 1, none of 3 "
    "shops, 2 from 20 on]",
)
@click.option(
    "--max-colluding",
    type=click.IntRange(0),
    help="Shops that may help the server.  [default: as before; at first a third]",
)
@PASSPHRASE_FILE
def make(root: Path, max_missing: int | None, max_colluding: int | None) -> None:
    """Ask the connected nodes for their keys, offer the roster, collect what owners accepted."""
    from server.coordinator.folder import ServerFolder
    from server.coordinator.roster import RosterFiles, RosterTerms
    from server.runs.lifecycle import work_with_nodes
    from server.runs.supervision import run_attempt

    folder = ServerFolder(root)
    folder.settings()
    terms = RosterTerms(max_missing=max_missing, max_colluding=max_colluding)
    with work_with_nodes(folder):
        RosterFiles(folder).choose(terms)
        status = run_attempt(folder, "roster", 0)
    if status in (1, 2):  # the attempt has said why
        sys.exit(status)
    if status != 0:
        raise ConfigError("was not made", name="roster", remedy=f"see {folder.log}")
    _print_roster(folder)


@roster.command()
@DIR
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(root: Path, as_json: bool) -> None:
    """Show the roster and who has not accepted it; asks no node."""
    from server.coordinator.folder import ServerFolder
    from server.coordinator.roster import require_state

    folder = ServerFolder(root)
    folder.settings()
    if as_json:
        click.echo(json.dumps(require_state(folder)))
        return
    _print_roster(folder)


def _print_roster(folder: ServerFolder) -> None:
    from server.coordinator.roster import require_state
    from shared.secure_aggregation.roster_words import roster_lines

    state, again = require_state(folder), "`fedprofile server roster make` again"
    marks = dict.fromkeys(state["shops"], "accepted")
    marks |= dict.fromkeys(state["unsent"], "accepted; its node does not hold all signatures")
    marks |= dict.fromkeys(state["waiting"], "not accepted yet")
    if state["changed"]:
        step = f"run {again}: it is not right for {', '.join(state['changed'])} any more"
    elif state["waiting"]:
        step = (
            f"the owners of {', '.join(state['waiting'])} compare the fingerprint with each other "
            f"and run `fedprofile node roster accept`; then run {again}"
        )
        marks |= {shop: "accepted" for shop in state["unsent"] if shop not in state["waiting"]}
    elif state["unsent"]:
        step = f"run {again} while the nodes of {', '.join(state['unsent'])} run"
    else:
        step = "nothing; all shops signed the roster, and their nodes hold it"
    for line in roster_lines(state, marks=marks):
        click.echo(line)
    click.echo(f"next: {step}")
