"""`fedprofile node`: the commands of a data owner."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TypeVar

import click

from shared.commands.options import (
    NEW_PASSPHRASE_FILE,
    PASSPHRASE_FILE,
    PLAIN_KEYS,
    change_passphrase,
    new_passphrase,
)
from shared.errors import ConfigError
from shared.runtime.metrics_endpoint import METRICS_PORT
from shared.settings.run_settings import MAX_USERS

T = TypeVar("T")
DIR = click.option(
    "--dir",
    "root",
    type=click.Path(path_type=Path),
    default=Path("fedprofile-node"),
    show_default=True,
    help="The node's folder.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@DIR
@PASSPHRASE_FILE
def key(root: Path) -> None:
    """Make the node's key; its public part goes to the server's owner."""
    from client.deploy.setup import make_node_key

    click.echo(f"send this file to the server's owner: {make_node_key(root)}")


@click.command()
@DIR
@click.option("--invitation", required=True, type=click.Path(path_type=Path))
@click.option(
    "--store", help="The shop's database, which is trained on: a file, or postgresql://..."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="File or folder of the shop's events; with --store it is imported there first.",
)
@click.option("--shop", required=True, help="The shop's public name.")
@click.option("--unit", type=click.Choice(["user"]), help="What is protected; no default.")
@click.option("--epsilon", type=float, help="Lifetime epsilon of one user; no default.")
@click.option(
    "--delta",
    type=float,
    help="Lifetime delta of one user; no default. At most 1 / (10 max-users); usual is 1e-6, or "
    "that if it is less.",
)
@click.option(
    "--max-users",
    type=click.IntRange(1),
    default=MAX_USERS,
    show_default=True,
    help="Users that the shop may ever have, from your plans, not from a count of today. It bounds "
    "delta and is part of the ledger; a shop that outgrows it goes on answering.",
)
@click.option(
    "--max-own-epsilon",
    type=click.FloatRange(0, min_open=True),
    help="Largest epsilon of what the shop guarantees by its own noise alone, should all other "
    "shops work together with the server.  [default: any]",
)
@click.option("--order-column", help="Column that stands for time.")
@click.option("--encoder", help="Folder of the encoder on this machine.")
@PASSPHRASE_FILE
def init(
    *,
    root: Path,
    invitation: Path,
    store: str | None,
    data: Path | None,
    shop: str,
    unit: str | None,
    epsilon: float | None,
    delta: float | None,
    max_users: int,
    max_own_epsilon: float | None,
    order_column: str | None,
    encoder: str | None,
) -> None:
    """Make settings, ledger and store of a new node."""
    from client.deploy.folder import NodeFolder
    from client.deploy.setup import fill_store, init_node, new_node
    from client.store.database import store_url
    from shared.privacy.ledger.log.entries import LifetimeLimits
    from shared.protocol.invitation import read_invitation
    from shared.settings.run_settings import DataSettings

    invited = read_invitation(invitation)
    if shop != invited.shop:
        raise ConfigError(
            f"must be {invited.shop}, the shop of the invitation",
            name="shop",
            value=shop,
            remedy="ask the server's owner for an invitation of your own",
        )
    click.echo(f"invitation sha256 {invited.fingerprint()}: compare it with the server's owner")
    limits = invited.limits
    click.echo(
        f"one run of {invited.server} asks for epsilon {limits.epsilon:g}, delta {limits.delta:g}"
    )
    unit = unit or _prompt("unit", "Unit of protection (user)", str)
    if unit != "user":
        raise ConfigError(
            "must be user, everything of one user",
            name="unit",
            value=unit,
            remedy="choose --unit user",
        )
    lifetime_epsilon = _prompt("epsilon", "Lifetime epsilon", float) if epsilon is None else epsilon
    lifetime_delta = _prompt("delta", "Lifetime delta", float) if delta is None else delta
    if not lifetime_epsilon > 0 or not 0 < lifetime_delta < 1:
        raise ConfigError(
            f"must be above 0 and delta={lifetime_delta:g} between 0 and 1",
            name="epsilon",
            value=f"{lifetime_epsilon:g}",
            remedy="pass other values of --epsilon and --delta",
        )
    url = None if store is None else store_url(store)
    settings = new_node(
        data=data,
        store=url,
        order_column=order_column,
        limits=LifetimeLimits(epsilon=lifetime_epsilon, delta=lifetime_delta, max_users=max_users),
        encoder=encoder,
        invitation=invited,
        max_own_epsilon=max_own_epsilon,
    )
    init_node(root, settings, invited)
    if url is not None:
        source = None if data is None else DataSettings(source=str(data), order_column=order_column)
        for line in fill_store(url, NodeFolder(root), source, say=say_aside):
            click.echo(line)
    click.echo(f"node of {shop} in {root}\nnext: fedprofile node check-data --dir {root}")


def _prompt(name: str, text: str, kind: type[T]) -> T:
    """Asks at a terminal: a default budget would be spent by people who never chose it."""
    if not sys.stdin.isatty():
        raise ConfigError(
            "has no default, and there is no terminal to ask at",
            name=name,
            value="none",
            remedy=f"pass --{name}",
        )
    answer: T = click.prompt(text, type=kind)
    return answer


def say_aside(line: str) -> None:
    """Prints a line that is no part of the answer."""
    click.echo(line, err=True)


@click.command()
@DIR
@click.option("--store", required=True, help="Database: a file, or postgresql://...")
@click.option("--accept-loss", is_flag=True, help="Migrate although over 5% of the rows are lost.")
@JSON
def migrate(root: Path, store: str, accept_loss: bool, as_json: bool) -> None:
    """Train on the shop's database from now on, filled with what the node has trained on."""
    from client.deploy.folder import NodeFolder
    from client.deploy.setup import move_to_store
    from client.store.database import store_url
    from client.store.imports.import_source import report_lines
    from client.store.imports.importing import ImportOptions

    folder = NodeFolder(root).require()
    options = ImportOptions(accept_loss=accept_loss)
    report = move_to_store(folder, store_url(store), options, say=say_aside)
    if as_json:
        click.echo(json.dumps(None if report is None else report.to_json()))
        return
    for line in [] if report is None else report_lines(report):
        click.echo(line)
    click.echo(f"the node in {root} trains on the database from now on")


@click.command("check-data")
@DIR
@JSON
def check_data(root: Path, as_json: bool) -> None:
    """Show what would be trained on; nothing leaves the machine."""
    from client.deploy.folder import NodeFolder
    from client.deploy.shop_data import load_shop, problems

    folder = NodeFolder(root).require()
    settings = folder.settings()
    data = load_shop(settings, folder.invitation().base)
    problem_lines = problems(data, settings)
    if as_json:
        click.echo(json.dumps({**data.report, "problems": problem_lines}))
        return
    report = data.report
    click.echo(f"files: {', '.join(report['files'])}")
    click.echo(f"{report['events']} events of {report['users']} users on {report['items']} items")
    for reason, count in report["dropped"].items():
        click.echo(f"  dropped {count}: {report['reasons'][reason]}")
    if consent := report.get("consent"):
        click.echo(
            f"training: {consent['allow']} allow, {consent['refuse']} refuse, {consent['silent']} "
            f"said nothing ({consent['default']} shop), {consent['deleted']} deleted"
        )
    for problem in problem_lines:
        click.echo(f"problem: {problem}")


@click.command()
@DIR
@click.option("--accept-package", is_flag=True, help="Take the installed code as your choice.")
@METRICS_PORT
@PASSPHRASE_FILE
def start(root: Path, accept_package: bool, metrics_port: int | None) -> None:
    """Serve the federation until stopped."""
    from client.deploy.folder import NodeFolder
    from client.deploy.node_process import start_node

    start_node(NodeFolder(root), accept_package=accept_package, metrics_port=metrics_port)


@click.command()
@DIR
@PASSPHRASE_FILE
@NEW_PASSPHRASE_FILE
@PLAIN_KEYS
def passphrase(root: Path, new: Path | None, plain: bool) -> None:
    """Encrypt the node's private keys, change their passphrase, or take it away."""
    from client.deploy.folder import NodeFolder

    chosen = new_passphrase(new, plain=plain)
    for path in change_passphrase(NodeFolder(root).private_keys(), chosen):
        click.echo(f"{'plain' if chosen is None else 'encrypted'}: {path}")


@click.command()
@DIR
@JSON
def status(root: Path, as_json: bool) -> None:
    """Show budget, ledger and what is served."""
    from client.deploy.folder import NodeFolder
    from client.deploy.node_process import node_status

    report = node_status(NodeFolder(root).require())
    if as_json:
        click.echo(json.dumps(report))
        return
    budget = report["budget"]
    click.echo(f"shop {report['shop']}: {report['process']}")
    click.echo(
        f"  epsilon {budget['budget_epsilon']:.4g} of {budget['limit']:g} at delta "
        f"{budget['delta']:g}{_over_renewals(budget)}"
    )
    click.echo(
        f"  {budget['releases']} releases in {budget['runs']} runs, receipts up to line "
        f"{report['countersigned']}"
    )
    if report["lost"] is not None:
        click.echo(
            f"  releases nothing: the server signed line {report['lost']}, which the ledger has "
            "lost; run `fedprofile node ledger restore`"
        )
    click.echo(f"  roster: {report['roster']['words']}")
    data = report["data"]
    if data is not None:
        dropped = data["dropped"].get("malformed", 0)
        click.echo(
            f"  {data['users']} users of at most {report['max_users'] or '?'} stated, "
            f"{data['events']} events, {dropped} malformed rows left out"
        )
    click.echo(f"  serves {report['current'] or 'nothing yet'}")


def _over_renewals(budget: dict[str, Any]) -> str:
    if not budget["renewals"]:
        return ""
    return f" since the last of {budget['renewals']} renewals, {budget['epsilon']:.4g} in all"


@click.group()
def adapter() -> None:
    """List the installed releases, or choose one."""


@adapter.command("list")
@DIR
@JSON
def list_adapters(root: Path, as_json: bool) -> None:
    """List the installed releases, each verified again."""
    from client.deploy.folder import NodeFolder
    from client.deploy.node_process import installed

    releases = installed(NodeFolder(root).require())
    if as_json:
        click.echo(json.dumps(releases))
        return
    for release in releases:
        mark = "*" if release["current"] else " "
        click.echo(
            f"{mark} {release['number']} {release['kind']} run {release['run']} round "
            f"{release['round']} {release['state']}"
        )


@adapter.command()
@click.argument("number", type=int)
@DIR
def use(number: int, root: Path) -> None:
    """Serve release NUMBER."""
    from client.deploy.folder import NodeFolder
    from client.deploy.installed_releases import InstalledReleases

    manifest = InstalledReleases(NodeFolder(root).require()).use(number)
    click.echo(f"serving {manifest.kind} {manifest.number}")


@adapter.command()
@DIR
def rollback(root: Path) -> None:
    """Serve the adapter before the current one."""
    from client.deploy.folder import NodeFolder
    from client.deploy.installed_releases import InstalledReleases

    click.echo(f"serving adapter {InstalledReleases(NodeFolder(root).require()).rollback().number}")
