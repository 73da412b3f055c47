"""`fedprofile server run`, `resume`, `abandon`, `stop`, `runs` and `logs`: the life of a run."""

from __future__ import annotations

import json
import signal
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server.options import DIR
from shared.commands.options import PASSPHRASE_FILE

if TYPE_CHECKING:
    from server.coordinator.folder import ServerFolder
    from server.runs.training_run import TrainingRun

WORDS = {"counts": "counts", "pairs": "pairs", "update": "updates", "masked": "masked sums"}
"""How the arrays that shops send are called."""


@click.command()
@DIR
@click.option("--noise", type=click.Choice(["shop", "shared"]), help="Who adds the noise.")
@click.option("--only", type=click.Choice(["adapter"]), help="Train the adapter alone.")
@PASSPHRASE_FILE
def run(root: Path, noise: Any, only: Any) -> None:
    """Do a new federated run.

    Noise is shared where all shops have signed a roster. With --noise shop --only adapter the
    update of each shop is seen by itself, to find one that does harm. A run that was interrupted
    goes on with `server resume`.
    """
    from server.runs.lifecycle import RunOptions, begin_run, work_with_nodes
    from shared.keys.signing import SigningKey

    folder = _folder(root)
    SigningKey.load(folder.signing_key)  # a wrong passphrase ends it before a run begins
    with work_with_nodes(folder):
        _work(begin_run(folder, RunOptions(noise, only)))


@click.command()
@DIR
@PASSPHRASE_FILE
def resume(root: Path) -> None:
    """Take up the run that was interrupted or failed, from its last checkpoint."""
    from server.runs.lifecycle import unfinished_run, work_with_nodes

    folder = _folder(root)
    with work_with_nodes(folder):
        _work(unfinished_run(folder))


def _folder(root: Path) -> ServerFolder:
    from server.coordinator.folder import ServerFolder

    folder = ServerFolder(root)
    folder.settings()
    return folder


def _work(taken: TrainingRun) -> None:
    """Does a run until it has ended; `server stop` interrupts it as Ctrl-C does."""
    from server.runs.supervision import supervise_run
    from shared.runtime.json_log import log_to

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    log_to(taken.server.log, run=taken.number)
    click.echo(f"run {taken.number}: {taken.price()}")
    state = supervise_run(taken)
    numbers = ", ".join(map(str, state.releases))
    click.echo(f"run {state.number} finished after {state.round} rounds; releases {numbers}")


@click.command()
@DIR
@click.option("--reason", default="", help="Why, for `server runs`.")
def abandon(root: Path, reason: str) -> None:
    """End the run that was interrupted or failed; what the shops have paid in it stays paid."""
    from server.runs.lifecycle import abandon_run, sent_by_shops, unfinished_run, work_with_nodes

    folder = _folder(root)
    with work_with_nodes(folder):
        ended = unfinished_run(folder)
        abandon_run(ended, reason=reason)
    click.echo(f"run {ended.number} is abandoned after round {ended.state().round}")
    sent = sent_by_shops(ended)
    for shop, arrays in sent.items():
        named = ", ".join(f"{count} {WORDS.get(name, name)}" for name, count in arrays.items())
        click.echo(f"  shop {shop} sent {named}, and has paid for them")
    if sent:
        click.echo(
            f"  paid at most: {ended.price()}; what exactly, each owner sees in `node status`"
        )
    else:
        click.echo("  no shop sent anything; nothing that arrived here was paid for")
    click.echo(f"next: fedprofile server run --dir {root}")


@click.command()
@DIR
def stop(root: Path) -> None:
    """Interrupt the command that works with the nodes: a run, a sending, a roster."""
    from server.runs.lifecycle import stop_command

    stopped = stop_command(_folder(root))
    if stopped is None:
        click.echo("no command works with the nodes")
        return
    click.echo(f"process {stopped} has ended; a run goes on with `fedprofile server resume`")


@click.command()
@DIR
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def runs(root: Path, as_json: bool) -> None:
    """List all runs: how far, at what price, who took part, what came of them."""
    from server.runs.supervision import run_states

    folder = _folder(root)
    states = run_states(folder)
    if as_json:
        click.echo(json.dumps(states))
        return
    for state in states:
        click.echo(f"run {state['number']}: {run_words(state)}")
        for line in filter(None, (state["price"], _releases_words(state))):
            click.echo(f"  {line}")
    if not states:
        click.echo("no run yet; begin one with `fedprofile server run`")


def run_words(state: dict[str, Any]) -> str:
    """Says in one line how a run stands."""
    reason = "; ".join(filter(None, (state["message"], state["remedy"])))
    when = f", {state['updated']}" if state["updated"] else ""
    return f"{state['status']}, round {state['round']}{when}" + (f" ({reason})" if reason else "")


def _releases_words(state: dict[str, Any]) -> str:
    numbers = ", ".join(map(str, state["releases"]))
    return f"releases {numbers}" if numbers else ""


@click.command()
@DIR
@click.option("--run", "number", type=click.IntRange(1), help="Of this run alone.")
@click.option("--lines", type=click.IntRange(1), default=50, show_default=True, help="Last ones.")
def logs(root: Path, number: int | None, lines: int) -> None:
    """Print the last lines of the log, one thing a line."""
    from shared.runtime.json_log import FIELDS, read_log

    shown: deque[str] = deque(maxlen=lines)
    for entry in read_log(_folder(root).log):
        if number is None or entry.get("run") == number:
            where = "".join(f" {name} {entry[name]}" for name in FIELDS if name in entry)
            shown.append(f"{entry['time'][:19]} {entry['level']}{where}: {entry['message']}")
    for line in shown:
        click.echo(line)


COMMANDS = (run, resume, abandon, stop, runs, logs)
