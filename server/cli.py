"""`fedprofile server`: the coordinator's commands."""

from __future__ import annotations

import json
from pathlib import Path

import click

from shared.budget import BUDGET_HELP, parse_budget
from shared.deploy.metrics_option import METRICS_PORT
from shared.deploy.passphrases import (
    NEW_PASSPHRASE_FILE,
    PASSPHRASE_FILE,
    PLAIN,
    change_passphrase,
    new_passphrase,
)
from shared.errors import ConfigError

DIR = click.option(
    "--dir",
    "root",
    type=click.Path(path_type=Path),
    default=Path("fedprofile-server"),
    show_default=True,
    help="The server's folder.",
)


@click.group()
def server() -> None:
    """Coordinate a federation of shops."""


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
    from server.deploy.new_settings import new_settings
    from server.deploy.setup import init_server

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
    from server.deploy.folder import ServerFolder
    from server.deploy.superlink import become_superlink

    become_superlink(ServerFolder(root), metrics_port=metrics_port)


@server.command()
@click.argument("shop")
@DIR
@click.option("--key", required=True, type=click.Path(path_type=Path), help="The node's node.pub.")
@click.option("--out", type=click.Path(path_type=Path), help="Invitation file.")
def invite(shop: str, root: Path, key: Path, out: Path | None) -> None:
    """Admit a shop's node and write the invitation for its owner."""
    from server.deploy.folder import ServerFolder
    from server.deploy.shops import invite as invite_shop

    path = out or Path(f"{shop}.invitation")
    made = invite_shop(ServerFolder(root), shop, key=key, out=path)
    click.echo(f"invitation {path}\nsha256 {made.fingerprint()}")


@server.command()
@click.argument("shop")
@DIR
def revoke(shop: str, root: Path) -> None:
    """Cut a shop's node off."""
    from server.deploy.folder import ServerFolder
    from server.deploy.shops import revoke as revoke_shop

    revoke_shop(ServerFolder(root), shop)
    click.echo(f"shop {shop} is cut off")


@server.command()
@DIR
@click.option("--new", is_flag=True, help="A new run, although the last is not finished.")
@PASSPHRASE_FILE
def run(root: Path, new: bool) -> None:
    """Do a federated run, or take up the one that was interrupted."""
    from server.deploy.folder import ServerFolder
    from server.deploy.run_folder import open_run
    from server.deploy.supervise import supervise
    from shared.deploy.json_log import log_to

    folder = ServerFolder(root)
    folder.settings()
    taken = open_run(folder, new=new)
    log_to(folder.logs / "server.jsonl", run=taken.number)
    state = supervise(taken)
    numbers = ", ".join(map(str, state.releases))
    click.echo(f"run {state.number} finished after {state.round} rounds; releases {numbers}")


@server.command()
@DIR
@PASSPHRASE_FILE
@NEW_PASSPHRASE_FILE
@PLAIN
def passphrase(root: Path, new: Path | None, plain: bool) -> None:
    """Encrypt the server's private keys, change their passphrase, or take it away."""
    from server.deploy.folder import ServerFolder

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
    from server.deploy.folder import ServerFolder
    from server.deploy.renewal import renew as renew_for

    renew_for(ServerFolder(root), days=days)
    click.echo(f"certificate valid for {days} days")
    click.echo("next: end `fedprofile server start`, start it again, and reload nginx")


@server.command()
@DIR
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(root: Path, as_json: bool) -> None:
    """Show shops, runs and the newest releases."""
    from server.deploy.folder import ServerFolder
    from server.deploy.status import server_status

    found = server_status(ServerFolder(root))
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(f"{found['name']} at {found['address']}: {found['server']}")
    days = found["certificate_days"]
    click.echo(f"  certificate: {f'{days} days left' if days >= 0 else 'expired'}")
    for shop in found["shops"]:
        click.echo(f"  shop {shop['shop']}: {shop['node']}, ledger line {shop['signed']} signed")
    for entry in found["runs"]:
        note = f" ({entry['message']})" if entry["message"] else ""
        click.echo(f"  run {entry['number']}: {entry['status']}, round {entry['round']}{note}")


@server.group(invoke_without_command=True)
@DIR
@click.option("--json", "as_json", is_flag=True, help="Print the manifests as JSON.")
@click.pass_context
def releases(ctx: click.Context, root: Path, as_json: bool) -> None:
    """List all releases, or send an older one again."""
    ctx.obj = root
    if ctx.invoked_subcommand is not None:
        return
    from server.deploy.folder import ServerFolder
    from server.deploy.registry import Registry

    registry = Registry(ServerFolder(root))
    found = [registry.read(number).manifest for number in registry.numbers()]
    if as_json:
        click.echo(json.dumps([manifest.model_dump(mode="json") for manifest in found]))
        return
    for manifest in found:
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
    from server.deploy.folder import ServerFolder
    from server.deploy.registry import Registry
    from server.deploy.supervise import attempt

    folder = ServerFolder(root)
    registry = Registry(folder)
    kind = registry.read(number).manifest.kind
    newest = next(r.manifest.number for r in registry.newest() if r.manifest.kind == kind)
    if number != newest and not again:
        raise ConfigError(
            f"release={number} is older than {newest}; nodes refuse it unless it is sent --again"
        )
    sent = registry.send_again(number).manifest.number if again else number
    if attempt(folder, "send", sent) != 0:
        raise ConfigError(f"release={sent} was not sent; see {folder.logs / 'server.jsonl'}")
    path = folder.releases / f"{sent:05d}" / "installed.json"
    for shop, outcome in sorted(json.loads(path.read_bytes()).items()):
        click.echo(f"release {sent} at {shop}: {outcome}")
