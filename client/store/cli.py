"""`fedprofile node backup`, `restore`, `consent`, `retention`, `delete-user` and `export-user`."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click


def _keep_password_off(context: click.Context, option: click.Parameter, store: str) -> str:
    """Warns of a password on a command line, which every user of the machine can read."""
    source = context.get_parameter_source(option.name or "")
    typed = source is click.core.ParameterSource.COMMANDLINE
    if typed and re.match(r"\w+(\+\w+)?://[^/@]*:[^/@]+@", store):
        click.echo(
            "warning: everybody on this machine can read the password in --store; put it into "
            "FEDPROFILE_STORE or ~/.pgpass",
            err=True,
        )
    return store


STORE = click.option(
    "--store",
    help="Database: a file, sqlite:///PATH or postgresql://USER@HOST/NAME (password in ~/.pgpass, "
    "or the whole in FEDPROFILE_STORE).",
    default="shop.db",
    show_default=True,
    envvar="FEDPROFILE_STORE",
    callback=_keep_password_off,
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
WORDS: dict[str, bool | None] = {"allow": True, "refuse": False, "default": None}


def _open(store: str) -> Any:
    from client.store.database import store_url
    from client.store.store import Store

    return Store(store_url(store))


@click.command()
@STORE
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File of the backup.")
def backup(store: str, out: Path) -> None:
    """Write a copy of the shop's database, for its owner alone; it may be in use."""
    from client.store.backup import back_up
    from client.store.database import store_url

    back_up(store_url(store), out)
    click.echo(f"{out}: the database; the ledger is not in it (see docs/ledger.md)")


@click.command()
@STORE
@click.option(
    "--from", "source", required=True, type=click.Path(path_type=Path), help="File of the backup."
)
@AS_JSON
def restore(store: str, source: Path, as_json: bool) -> None:
    """Put a backup in the database's place; who was deleted since is deleted again."""
    from client.store.backup import restore as restore_backup
    from client.store.database import store_url

    report = restore_backup(store_url(store), source)
    if as_json:
        click.echo(json.dumps(asdict(report)))
        return
    click.echo(f"restored: {report.events} events of {report.users} users")
    click.echo(f"  {report.deleted_again} users who were deleted since were deleted again")
    if not report.knew_deletions:
        click.echo("  no database was there that knew of later deletions: delete these users again")


@click.command()
@STORE
@click.option("--default", "default", type=click.Choice(["opt-in", "opt-out"]))
@click.option("--user", help="A user's id.")
@click.option("--training", type=click.Choice(list(WORDS)), help="What the user said.")
@AS_JSON
def consent(
    *, store: str, default: Any, user: str | None, training: str | None, as_json: bool
) -> None:
    """Say who may be trained on: a user, or all who said nothing; show the numbers."""
    from client.store.consent import consent_counts, set_consent, set_consent_default
    from shared.errors import ConfigError

    if (user is None) != (training is None):
        raise ConfigError(
            "belong together", name="--user and --training", remedy="pass both or neither"
        )
    opened = _open(store)
    try:
        if default is not None:
            opened.write(lambda c: set_consent_default(c, default)).result()
        if user is not None and training is not None:
            opened.write(lambda c: set_consent(c, user, WORDS[training])).result()
        with opened.reading() as connection:
            counts = consent_counts(connection)
    finally:
        opened.close()
    if as_json:
        click.echo(json.dumps(asdict(counts)))
        return
    click.echo(
        f"{counts.default}: {counts.allow} users allow training, {counts.refuse} refuse, "
        f"{counts.silent} said nothing; {counts.deleted} were deleted"
    )


@click.command()
@STORE
@click.option("--days", type=click.FloatRange(1), help="Days that events are held.")
@click.option("--forever", is_flag=True, help="Hold events without end.")
@AS_JSON
def retention(store: str, days: float | None, forever: bool, as_json: bool) -> None:
    """Say how long events are held; older ones leave the database and training at once."""
    from client.store.consent import remove_expired, retention_days, set_retention

    opened = _open(store)
    try:
        if days is not None or forever:
            opened.write(lambda c: set_retention(c, None if forever else days)).result()
        removed = opened.write(remove_expired).result()
        with opened.reading() as connection:
            held = retention_days(connection)
    finally:
        opened.close()
    if as_json:
        click.echo(json.dumps({"retention_days": held, "removed": removed}))
        return
    length = "without end" if held is None else f"for {held:g} days"
    click.echo(f"events are held {length}; {removed} were removed")


@click.command("delete-user")
@click.argument("user")
@STORE
def delete_user(user: str, store: str) -> None:
    """Delete USER with all events; no later import brings the id back."""
    from client.store import changes

    def change(connection: Any) -> int:
        events = changes.delete_user(connection, user)
        changes.bump_generation(connection)
        return events

    opened = _open(store)
    try:
        events = opened.write(change).result()
    finally:
        opened.close()
    click.echo(f"deleted with {events} events; a running service follows within seconds")


@click.command("export-user")
@click.argument("user")
@STORE
def export_user(user: str, store: str) -> None:
    """Print everything that is held about USER, one JSON object a line."""
    from client.store.imports.importing import TIME_UNIT
    from client.store.reading import day_as_text
    from client.store.user_export import as_lines
    from client.store.user_export import export_user as records_of

    opened = _open(store)
    try:
        dated = (opened.fact(TIME_UNIT) or "days") == "days"
        with opened.reading() as connection:
            records = records_of(
                connection, user, time_text=lambda t: day_as_text(t) if dated else t
            )
            for line in as_lines(records):
                click.echo(line, nl=False)
    finally:
        opened.close()
