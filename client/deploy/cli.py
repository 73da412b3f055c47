"""`fedprofile node`: the commands of a data owner."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TypeVar

import click

from shared.deploy.metrics_option import METRICS_PORT
from shared.deploy.passphrases import (
    NEW_PASSPHRASE_FILE,
    PASSPHRASE_FILE,
    PLAIN,
    change_passphrase,
    new_passphrase,
)
from shared.errors import ConfigError

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
@click.option("--data", required=True, type=click.Path(path_type=Path), help="The shop's events.")
@click.option("--shop", required=True, help="The shop's public name.")
@click.option("--unit", type=click.Choice(["user"]), help="What is protected; no default.")
@click.option("--epsilon", type=float, help="Lifetime epsilon of one user; no default.")
@click.option("--delta", type=float, help="Lifetime delta of one user; no default.")
@click.option("--order-column", help="Column that stands for time.")
@click.option("--encoder", help="Folder of the encoder on this machine.")
@PASSPHRASE_FILE
def init(
    *,
    root: Path,
    invitation: Path,
    data: Path,
    shop: str,
    unit: str | None,
    epsilon: float | None,
    delta: float | None,
    order_column: str | None,
    encoder: str | None,
) -> None:
    """Make settings, ledger and store of a new node."""
    from client.deploy.setup import init_node, new_node
    from shared.deploy.invitation import read_invitation
    from shared.privacy.ledger.entries import Limits

    offer = read_invitation(invitation)
    if shop != offer.shop:
        raise ConfigError(
            f"--shop {shop}: the invitation is for {offer.shop}; ask for one of your own"
        )
    click.echo(f"invitation sha256 {offer.fingerprint()}: compare it with the server's owner")
    limits = offer.limits
    click.echo(
        f"one run of {offer.server} asks for epsilon {limits.epsilon:g}, delta {limits.delta:g}"
    )
    unit = unit or _ask("unit", "Unit of protection (user)", str)
    if unit != "user":
        raise ConfigError(f"--unit {unit}: must be user, everything of one user")
    limit = _ask("epsilon", "Lifetime epsilon", float) if epsilon is None else epsilon
    tolerance = _ask("delta", "Lifetime delta", float) if delta is None else delta
    if not limit > 0 or not 0 < tolerance < 1:
        raise ConfigError(
            f"--epsilon {limit:g} must be above 0 and --delta {tolerance:g} between 0 and 1"
        )
    settings = new_node(
        data=data,
        order_column=order_column,
        limits=Limits(epsilon=limit, delta=tolerance),
        encoder=encoder,
        offer=offer,
    )
    init_node(root, settings, offer)
    click.echo(f"node of {shop} in {root}\nnext: fedprofile node check-data --dir {root}")


def _ask(name: str, text: str, kind: type[T]) -> T:
    """Asks at a terminal; a budget has no default."""
    if not sys.stdin.isatty():
        raise ConfigError(f"--{name}: has no default and there is no terminal to ask at; give it")
    answer: T = click.prompt(text, type=kind)
    return answer


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
    found = problems(data, settings)
    if as_json:
        click.echo(json.dumps({**data.report, "problems": found}))
        return
    report = data.report
    click.echo(f"files: {', '.join(report['files'])}")
    click.echo(f"{report['events']} events of {report['users']} users on {report['items']} items")
    for reason, count in report["dropped"].items():
        click.echo(f"  dropped {count}: {report['reasons'][reason]}")
    for problem in found:
        click.echo(f"problem: {problem}")


@click.command()
@DIR
@click.option("--accept-package", is_flag=True, help="Take the installed code as your choice.")
@METRICS_PORT
@PASSPHRASE_FILE
def start(root: Path, accept_package: bool, metrics_port: int | None) -> None:
    """Serve the federation until stopped."""
    from client.deploy.folder import NodeFolder
    from client.deploy.supernode import start_node

    start_node(NodeFolder(root), accept_package=accept_package, metrics_port=metrics_port)


@click.command()
@DIR
@PASSPHRASE_FILE
@NEW_PASSPHRASE_FILE
@PLAIN
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
    from client.deploy.status import node_status

    found = node_status(NodeFolder(root).require())
    if as_json:
        click.echo(json.dumps(found))
        return
    budget = found["budget"]
    click.echo(f"shop {found['shop']}: {found['process']}")
    click.echo(
        f"  epsilon {budget['epsilon']:.4g} of {budget['limit']:g} at delta {budget['delta']:g}"
    )
    click.echo(
        f"  {budget['releases']} releases in {budget['runs']} runs, receipts up to line "
        f"{found['countersigned']}"
    )
    click.echo(f"  serves {found['current'] or 'nothing yet'}")


@click.group()
def adapter() -> None:
    """List the installed releases, or choose one."""


@adapter.command("list")
@DIR
@JSON
def list_adapters(root: Path, as_json: bool) -> None:
    """List the installed releases, each verified again."""
    from client.deploy.folder import NodeFolder
    from client.deploy.status import installed

    found = installed(NodeFolder(root).require())
    if as_json:
        click.echo(json.dumps(found))
        return
    for entry in found:
        mark = "*" if entry["current"] else " "
        click.echo(
            f"{mark} {entry['number']} {entry['kind']} run {entry['run']} round {entry['round']} "
            f"{entry['state']}"
        )


@adapter.command()
@click.argument("number", type=int)
@DIR
def use(number: int, root: Path) -> None:
    """Serve release NUMBER."""
    from client.deploy.adapters import Adapters
    from client.deploy.folder import NodeFolder

    manifest = Adapters(NodeFolder(root).require()).use(number)
    click.echo(f"serving {manifest.kind} {manifest.number}")


@adapter.command()
@DIR
def rollback(root: Path) -> None:
    """Serve the adapter before the current one."""
    from client.deploy.adapters import Adapters
    from client.deploy.folder import NodeFolder

    click.echo(f"serving adapter {Adapters(NodeFolder(root).require()).rollback().number}")
