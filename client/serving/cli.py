"""`fedprofile node serve`, `evaluate` and `import`: each parses, calls one function and prints."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from client.serving.settings import ServingSettings
from shared.config import DataSettings
from shared.errors import ConfigError

STORE = click.option(
    "--store",
    help="Database: a file, sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME.",
    default="shop.db",
    show_default=True,
    envvar="FEDPROFILE_STORE",
)
DATA = click.option("--data", help="File or folder to import first, or complete-journey.")
SHOP = click.option("--shop", help="Which of the data's shops.  [default: the only one]")
SHOP_COLUMN = click.option("--shop-column", help="Column that names the shop.")
ORDER_COLUMN = click.option("--order-column", help="Column of ranks, where there are no dates.")
ADAPTER = click.option(
    "--adapter", type=click.Path(path_type=Path), help="Adapter folder, or the shop's node."
)
INT8 = click.option("--int8", is_flag=True, help="Keep item vectors in one byte a number.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say which data to import into which database."""
    for option in (ORDER_COLUMN, SHOP_COLUMN, SHOP, DATA, STORE):
        command = option(command)
    return command


@click.command()
@source_options
@ADAPTER
@INT8
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, help="Port; 0 takes a free one.")
@click.option("--local-share", type=float, default=0.0, help="Share of users without the adapter.")
@click.option("--diversity", type=float, default=0.0, help="Default diversity, 0 to 1.")
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
def serve(*, adapter: Path | None, store: str, **given: Any) -> None:
    """Answer recommendations over HTTP until interrupted."""
    from client.serving.opening import Opening, open_service
    from client.serving.running import run

    settings = _settings(given)
    opening = Opening(
        store=_url(store),
        data=_data(given),
        shop=given["shop"],
        adapter=adapter,
        settings=settings,
    )
    run(open_service(opening), announce=click.echo)


@click.command()
@source_options
@ADAPTER
@INT8
@AS_JSON
def evaluate(*, adapter: Path | None, store: str, int8: bool, as_json: bool, **given: Any) -> None:
    """Learn the fusion weights on the shop's latest events and say what each signal is worth."""
    from client.serving.opening import Opening, open_service

    opening = Opening(
        store=_url(store),
        data=_data(given),
        shop=given["shop"],
        adapter=adapter,
        settings=ServingSettings(int8=int8),
    )
    service = open_service(opening)
    try:
        service.learn()
        found = service.status()
    finally:
        service.close()
    click.echo(json.dumps(found) if as_json else _table(found))


@click.command("import")
@source_options
@AS_JSON
def import_(*, store: str, as_json: bool, **given: Any) -> None:
    """Import items, users and events; the same source twice adds nothing."""
    from client.serving.opening import import_data
    from client.store.store import Store

    data = _data(given)
    if data is None:
        raise ConfigError("--data is missing; name a file or folder, or complete-journey")
    opened = Store(_url(store))
    try:
        events = import_data(opened, data, given["shop"])
    finally:
        opened.close()
    text = f"{events} events imported" if events else "nothing new: imported before"
    click.echo(json.dumps({"events": events}) if as_json else text)


def _url(store: str) -> str:
    return store if "://" in store else f"sqlite:///{Path(store).expanduser().absolute()}"


def _data(given: dict[str, Any]) -> DataSettings | None:
    if given["data"] is None:
        return None
    named = {name: given[name] for name in ("shop_column", "order_column") if given[name]}
    return DataSettings(source=given["data"], **named)


def _ledger(place: Path | None) -> Path | None:
    """Finds the one ledger of a file or folder, wherever this process goes afterwards."""
    if place is None:
        return None
    from shared.privacy.ledger.shop_files import find_ledgers

    found = find_ledgers(place)
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:5])
        raise ConfigError(
            f"--ledger {place} holds {len(found)} ledgers, must be one shop's; name one: {names}"
        )
    return found[0].resolve()


def _settings(given: dict[str, Any]) -> ServingSettings:
    names = (
        *("host", "port", "local_share", "diversity", "deny"),
        *("refresh_seconds", "snapshot_seconds", "int8"),
    )
    values = {name: given[name] for name in names} | {"ledger": _ledger(given["ledger"])}
    try:
        return ServingSettings(**values, api_key=os.environ.get("FEDPROFILE_API_KEY") or None)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        shown = f"{name}={first['input']!r}: " if name and name != "api_key" else ""
        remedy = "" if ";" in message else f"; change --{name.replace('_', '-')}"
        raise ConfigError(f"{shown}{message}{remedy}") from None


def _table(found: dict[str, Any]) -> str:
    lines = []
    for surface, mix in found["weights"].items():
        lines.append(f"{surface} ({mix['queries']} queries)")
        for name, weight in mix["fused"].items():
            worth = mix["ndcg"].get(name)
            shown = "" if worth is None else f"  NDCG@10 {worth:.4f}"
            lines.append(f"  {name:<12} {weight:.3f}{shown}")
        all_of = [name for name in ("local", "fused") if name in mix["ndcg"]]
        lines += [f"  all {name:<8}       NDCG@10 {mix['ndcg'][name]:.4f}" for name in all_of]
    return "\n".join(lines)
