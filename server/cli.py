"""`fedprofile server`: the coordinator's commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from server.options import DIR
from server.roster_commands import roster
from server.run_commands import COMMANDS as RUN_COMMANDS
from server.run_commands import run_words
from shared.commands.options import (
    BUDGET_HELP,
    NEW_PASSPHRASE_FILE,
    PASSPHRASE_FILE,
    PLAIN_KEYS,
    change_passphrase,
    new_passphrase,
    parse_budget,
)
from shared.errors import ConfigError
from shared.runtime.metrics_endpoint import METRICS_PORT


@click.group()
def server() -> None:
    """Coordinate a federation of shops."""


server.add_command(roster)
for each in RUN_COMMANDS:
    server.add_command(each)


@server.command()
@DIR
@click.option("--name", required=True, help="Public name of the federation.")
@click.option("--catalogue", required=True, type=click.Path(path_type=Path), help="Public items.")
@click.option("--address", required=True, help="host:port that nodes connect to.")
@click.option("--port", type=int, default=8000, show_default=True, help="Local port.")
@click.option("--also", multiple=True, help="Further host name or IP address of the server.")
@click.option("--time-unit", type=click.Choice(["days", "order"]), default="days")
@click.option("--epsilon", type=float, required=True, help="Budget of one run in each shop.")
@click.option("--delta", type=float, required=True, help="Delta of one run in each shop.")
@click.option("--budget", help=f"{BUDGET_HELP}  [default: counts=0.2,pairs=0.6,adapter=0.2]")
@click.option("--set", "sets", multiple=True, help="Any setting of server.toml, as name=value.")
@PASSPHRASE_FILE
def init(
    *,
    root: Path,
    name: str,
    catalogue: Path,
    address: str,
    port: int,
    also: tuple[str, ...],
    time_unit: str,
    epsilon: float,
    delta: float,
    budget: str | None,
    sets: tuple[str, ...],
) -> None:
    """Make certificates, keys, folders and settings of a new coordinator."""
    from server.coordinator.setup import init_server, new_settings

    settings = new_settings(
        {
            "name": name,
            "address": address,
            "port": port,
            "names": also,
            "time_unit": time_unit,
            "privacy.epsilon": epsilon,
            "privacy.delta": delta,
            **parse_budget(budget),
        },
        sets,
    )
    print_of = init_server(root, settings, catalogue=catalogue)
    click.echo(f"coordinator {name} in {root}\nauthority sha256 {print_of}")
    click.echo(f"next: fedprofile server start --dir {root}")


@server.command()
@DIR
@METRICS_PORT
@PASSPHRASE_FILE
def start(root: Path, metrics_port: int | None) -> None:
    """Run the coordinator's network service until it is stopped."""
    from server.coordinator.folder import ServerFolder
    from server.coordinator.superlink import become_superlink

    become_superlink(ServerFolder(root), metrics_port=metrics_port)


@server.command()
@click.argument("shop")
@DIR
@click.option("--key", required=True, type=click.Path(path_type=Path), help="The node's node.pub.")
@click.option("--out", type=click.Path(path_type=Path), help="Invitation file.")
@click.option("--again", is_flag=True, help="A shop that was here before; its keys may be new.")
def invite(shop: str, root: Path, key: Path, out: Path | None, again: bool) -> None:
    """Admit a shop's node and write the invitation for its owner."""
    from server.coordinator.folder import ServerFolder
    from server.coordinator.invited_shops import invite_shop

    path = out or Path(f"{shop}.invitation")
    invitation = invite_shop(ServerFolder(root), shop, key=key, out=path, again=again)
    click.echo(f"invitation {path}\nsha256 {invitation.fingerprint()}")


@server.command()
@DIR
def key(root: Path) -> None:
    """Print the public key of receipts and releases, for auditors of the shops' ledgers."""
    from server.coordinator.folder import ServerFolder

    folder = ServerFolder(root)
    folder.settings()
    click.echo(folder.server_key())


@server.command()
@click.argument("shop")
@DIR
def revoke(shop: str, root: Path) -> None:
    """Cut a shop's node off."""
    from server.coordinator.folder import ServerFolder
    from server.coordinator.invited_shops import revoke_shop

    revoke_shop(ServerFolder(root), shop)
    click.echo(f"shop {shop} is cut off")


@server.command()
@DIR
@PASSPHRASE_FILE
@NEW_PASSPHRASE_FILE
@PLAIN_KEYS
def passphrase(root: Path, new: Path | None, plain: bool) -> None:
    """Encrypt the server's private keys, change their passphrase, or take it away."""
    from server.coordinator.folder import ServerFolder

    ServerFolder(root).keep_server_key()
    chosen = new_passphrase(new, plain=plain)
    for path in change_passphrase(ServerFolder(root).private_keys(), chosen):
        click.echo(f"{'plain' if chosen is None else 'encrypted'}: {path}")


@server.command()
@DIR
@click.option("--days", type=int, required=True, help="Days for which the new one is valid.")
@PASSPHRASE_FILE
def renew(root: Path, days: int) -> None:
    """Make a new TLS certificate under the same authority; nodes need nothing new."""
    from server.coordinator.folder import ServerFolder
    from server.coordinator.setup import renew_if_due as renew_for

    renew_for(ServerFolder(root), days=days)
    click.echo(f"certificate valid for {days} days")
    click.echo("next: end `fedprofile server start`, start it again, and reload nginx")


@server.command()
@DIR
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(root: Path, as_json: bool) -> None:
    """Show shops, runs and the newest releases."""
    from server.coordinator.folder import ServerFolder
    from server.runs.supervision import server_status

    state = server_status(ServerFolder(root))
    if as_json:
        click.echo(json.dumps(state))
        return
    click.echo(f"{state['name']} at {state['address']}: {state['server']}")
    days = state["certificate_days"]
    click.echo(f"  certificate: {f'{days} days left' if days >= 0 else 'expired'}")
    for shop in state["shops"]:
        click.echo(f"  shop {shop['shop']}: {shop['node']}, ledger line {shop['signed']} signed")
        if shop["refused"] is not None:
            entry, fault, time = (shop["refused"][name] for name in ("entry", "fault", "time"))
            click.echo(
                f"    its ledger {fault}: line {entry}, {time}; its releases do not count until "
                "its owner has run `fedprofile node ledger restore`"
            )
    click.echo(f"  roster: {_roster_words(state['roster'])}")
    for entry in state["runs"]:
        click.echo(f"  run {entry['number']}: {run_words(entry)}")


def _roster_words(state: dict[str, Any] | None) -> str:
    """Says in one line how far the roster is."""
    if state is None:
        return "none; shops that share their noise need one: `fedprofile server roster make`"
    waiting, changed = ", ".join(state["waiting"]), ", ".join(state["changed"])
    words = f"not accepted by {waiting}" if waiting else "signed by all shops"
    differs = f"; make a new one, it is not right for {changed}" if changed else ""
    return f"{state['fingerprint'][:16]}… of {len(state['shops'])} shops, {words}{differs}"


@server.group(invoke_without_command=True)
@DIR
@click.option("--json", "as_json", is_flag=True, help="Print the manifests as JSON.")
@click.pass_context
def releases(ctx: click.Context, root: Path, as_json: bool) -> None:
    """List all releases, or send an older one again."""
    ctx.obj = root
    if ctx.invoked_subcommand is not None:
        return
    from server.coordinator.folder import ServerFolder
    from server.runs.releases import ReleaseRegistry

    registry = ReleaseRegistry(ServerFolder(root))
    manifests = [registry.read(number).manifest for number in registry.numbers()]
    if as_json:
        click.echo(json.dumps([manifest.model_dump(mode="json") for manifest in manifests]))
        return
    for manifest in manifests:
        again = f", release {manifest.again_of} again" if manifest.again_of else ""
        click.echo(
            f"{manifest.number} {manifest.kind} run {manifest.run} round {manifest.round}{again}, "
            f"{len(manifest.participants)} shops, norm {manifest.norms['total']:.4g}, "
            f"sha256 {manifest.sha256[:16]}, {manifest.created}"
        )


@releases.command()
@click.argument("number", type=int)
@click.option("--again", is_flag=True, help="Sign it as a new release of the older content.")
@PASSPHRASE_FILE
@click.pass_obj
def send(root: Path, number: int, again: bool) -> None:
    """Send a release to all connected nodes; an older one only with --again."""
    from server.coordinator.folder import ServerFolder
    from server.runs.lifecycle import work_with_nodes
    from server.runs.releases import ReleaseRegistry
    from server.runs.supervision import run_attempt

    folder = ServerFolder(root)
    registry = ReleaseRegistry(folder)
    kind = registry.read(number).manifest.kind
    newest = next(r.manifest.number for r in registry.newest() if r.manifest.kind == kind)
    if number != newest and not again:
        raise ConfigError(
            f"is older than {newest}",
            name="release",
            value=number,
            remedy="nodes refuse it unless it is sent --again",
        )
    with work_with_nodes(folder):
        sent = registry.send_again(number).manifest.number if again else number
        done = run_attempt(folder, "send", sent)
    if done != 0:
        raise ConfigError("was not sent", name="release", value=sent, remedy=f"see {folder.log}")
    path = folder.releases / f"{sent:05d}" / "installed.json"
    for shop, outcome in sorted(json.loads(path.read_bytes()).items()):
        click.echo(f"release {sent} at {shop}: {outcome}")
