"""`fedprofile privacy`: each command parses, calls one function and prints."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shared.cli import LazyGroup
from shared.commands.options import BUDGET_HELP, parse_budget
from shared.errors import PrivacyError

if TYPE_CHECKING:
    from shared.privacy.ledger.reporting.evidence import EvidenceSources

HERE = "shared.commands.privacy"
COMMANDS = {
    "plan": (HERE, "plan", "find the noise of a plan and what it would cost and leave"),
    "status": (HERE, "status", "what is spent and what is left, per shop"),
    "verify": (HERE, "verify", "check chain, signatures, countersignatures and releases"),
    "report": (HERE, "report", "the guarantee in words, with all that an auditor asks"),
    "audit": ("simulation.audit.cli", "audit", "recompute every figure and test the noise itself"),
}
"""Name -> module, attribute, one line of help."""

LEDGERS = click.argument("ledgers", type=click.Path(path_type=Path), metavar="LEDGER|FOLDER")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
TRUST = click.option(
    "--trust",
    type=click.Path(path_type=Path),
    help="Anchor file, or folder of them, kept by the owner.  [default: keys/ beside the ledger]",
)
PUBLIC_KEY = click.option(
    "--public-key", help="Genesis key that the shop published.", metavar="HEX"
)
RECEIPTS = click.option(
    "--receipts",
    type=click.Path(path_type=Path),
    help="Heads that the server signed, as the server kept them.",
)
SERVER_KEY = click.option(
    "--server-key",
    type=click.Path(path_type=Path),
    help="What `fedprofile server key` prints, from the server's operator: only receipts and "
    "countersignatures of this key count.  [default: the invitation's in a node's folder]",
)
RELEASES = click.option(
    "--releases",
    type=click.Path(path_type=Path),
    help="Run folder or adapter folder.  [default: the folder above the ledgers]",
)


@click.group(cls=LazyGroup, table=COMMANDS)
def privacy() -> None:
    """Keep, check and explain the privacy budgets of shops."""


PLAN_OPTIONS = {
    "epsilon": "privacy.epsilon",
    "delta": "privacy.delta",
    "rounds": "training.rounds",
    "local_steps": "training.local_steps",
    "sample_rate": "training.sample_rate",
    "rank": "model.rank",
}
"""Command-line option -> setting."""


@click.command()
@click.option("--users", type=click.IntRange(1), required=True, help="Users of the shop.")
@click.option("--epsilon", type=float, help="Total epsilon of the run.")
@click.option("--delta", type=float, help="Total delta, at most 1 / (10 max_shop_users).")
@click.option("--rounds", type=int, help="Federated rounds.")
@click.option("--local-steps", type=int, help="DP-SGD steps a round.")
@click.option("--sample-rate", type=float, help="Poisson rate of a user a step; 1: full batch.")
@click.option("--rank", type=int, help="Rank of the LoRA adapter.")
@click.option("--budget", help=BUDGET_HELP, metavar="PART=SHARE,...")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file of settings.")
@click.option("--set", "sets", multiple=True, help="Any setting, as name=value.", metavar="N=V")
@click.option("--ledger", type=click.Path(path_type=Path), help="Ledger that would pay.")
@click.option("--shops", type=click.IntRange(1), help="Shops of a roster that share the noise.")
@click.option(
    "--max-missing",
    type=click.IntRange(0),
    help="Shops of the roster that a sum may lack.  [default: 0 of 3, 1, 2 from 20 shops on]",
)
@click.option(
    "--max-colluding",
    type=click.IntRange(0),
    help="Shops of the roster that may help the server.  [default: a third]",
)
@AS_JSON
def plan(
    *,
    users: int,
    shops: int | None,
    max_missing: int | None,
    max_colluding: int | None,
    config: Path | None,
    sets: tuple[str, ...],
    budget: str | None,
    ledger: Path | None,
    as_json: bool,
    **plan_options: Any,
) -> None:
    """Find the noise that a budget needs, and what other plans would cost."""
    from shared.privacy.accounting.roster_bounds import RosterBounds
    from shared.privacy.ledger.reporting.planner import forecast_plan
    from shared.privacy.ledger.reporting.rendering import print_plan
    from shared.privacy.ledger.reporting.status import read_ledger
    from shared.settings.sources import assignments, load_settings

    options: dict[str, Any] = {
        PLAN_OPTIONS[name]: value for name, value in plan_options.items() if value is not None
    }
    bounds = None
    if shops is not None:
        options["privacy.noise"] = "shared"
        bounds = RosterBounds.usual(shops, max_missing=max_missing, max_colluding=max_colluding)
    elif max_missing is not None or max_colluding is not None:
        raise PrivacyError(
            "says nothing of which roster",
            name="max_missing" if max_missing is not None else "max_colluding",
            remedy="give --shops too",
        )
    settings = load_settings(
        file=config,
        environment=os.environ,
        options=options | parse_budget(budget) | assignments(sets),
    )
    chain = None if ledger is None else read_ledger(ledger)[0]
    forecast = forecast_plan(settings, n_users=users, chain=chain, bounds=bounds)
    if as_json:
        click.echo(json.dumps(forecast.to_json()))
    else:
        print_plan(forecast)


@click.command()
@LEDGERS
@click.option(
    "--shops",
    help="Also what a person pays who is a user of these shops: A,B,C or all.",
    metavar="LIST",
)
@AS_JSON
def status(*, ledgers: Path, shops: str | None, as_json: bool) -> None:
    """Say what is spent and left, and how many rounds fit; exit code 1 past a limit."""
    from shared.privacy.ledger.log.shop_files import find_ledgers
    from shared.privacy.ledger.reporting.people import compose_shops, group_table
    from shared.privacy.ledger.reporting.rendering import print_status
    from shared.privacy.ledger.reporting.status import budget_status as status_of
    from shared.privacy.ledger.reporting.status import read_ledger

    chains = [read_ledger(path) for path in find_ledgers(ledgers)]
    now = datetime.now(UTC)
    accounts = [status_of(chain, now=now, torn=torn) for chain, torn in chains]
    people = {chain.start.shop: group_table(chain) for chain, _ in chains}
    composition = None
    if shops is not None:
        by_name = {chain.start.shop: chain for chain, _ in chains}
        names = list(by_name) if shops == "all" else [name.strip() for name in shops.split(",")]
        unknown = [name for name in names if name not in by_name]
        if unknown:
            raise PrivacyError(
                "no such ledger",
                name="shops",
                value=",".join(unknown),
                remedy=f"known are {', '.join(by_name)}",
            )
        composition = compose_shops([by_name[name] for name in dict.fromkeys(names)])
    if as_json:
        joint = None if composition is None else composition.to_json()
        rows = [
            a.to_json() | {"person_with_ids": [asdict(row) for row in people[a.shop]]}
            for a in accounts
        ]
        click.echo(json.dumps({"shops": rows, "composition": joint}))
    else:
        print_status(accounts, composition, people)
    sys.exit(1 if any(account.fault for account in accounts) else 0)


@click.command()
@LEDGERS
@TRUST
@PUBLIC_KEY
@RECEIPTS
@SERVER_KEY
@RELEASES
@AS_JSON
def verify(*, ledgers: Path, as_json: bool, **evidence: Any) -> None:
    """Check ledgers; exit code 1 and the first bad entry where one does not hold."""
    from shared.privacy.ledger.reporting.rendering import print_verdicts
    from shared.privacy.ledger.reporting.verify import verify_all

    verdicts = verify_all(ledgers, _sources(ledgers, **evidence))
    ok = all(verdict.ok for verdict in verdicts)
    if as_json:
        click.echo(json.dumps({"ok": ok, "ledgers": [v.to_json() for v in verdicts]}))
    else:
        print_verdicts(verdicts)
    sys.exit(0 if ok else 1)


@click.command()
@LEDGERS
@TRUST
@PUBLIC_KEY
@RECEIPTS
@SERVER_KEY
@RELEASES
@click.option("--format", "kind", type=click.Choice(["markdown", "html", "json"]))
@click.option("--out", type=click.Path(path_type=Path), help="File to write, instead of printing.")
@AS_JSON
def report(
    *, ledgers: Path, kind: str | None, out: Path | None, as_json: bool, **evidence: Any
) -> None:
    """State the guarantee of each shop in words; exit code 1 where a ledger does not hold."""
    from shared.privacy.ledger.reporting.rendering import to_html, to_markdown
    from shared.privacy.ledger.reporting.statement import statement
    from shared.privacy.ledger.reporting.status import budget_status as status_of
    from shared.privacy.ledger.reporting.status import read_ledger
    from shared.privacy.ledger.reporting.verify import verify_all

    statements, verdicts = [], verify_all(ledgers, _sources(ledgers, **evidence))
    for verdict in verdicts:
        chain, torn = read_ledger(Path(verdict.ledger))
        account = status_of(chain, now=datetime.now(UTC), torn=torn)
        statements.append(statement(chain, account, verdict))
    kind = "json" if as_json else kind or _kind_of(out)
    if kind == "json":
        text = json.dumps({"shops": statements}, indent=2) + "\n"
    else:
        text = to_html(statements) if kind == "html" else to_markdown(statements)
    if out is None:
        click.echo(text, nl=False)
    else:
        _write(out, text)
    sys.exit(0 if all(verdict.ok for verdict in verdicts) else 1)


def _sources(ledgers: Path, *, server_key: Path | None, **places: Any) -> EvidenceSources:
    from shared.privacy.ledger.log.shop_files import find_ledgers
    from shared.privacy.ledger.reporting.evidence import EvidenceSources
    from shared.protocol.server_key import pinned_key

    find_ledgers(ledgers)  # before anything else is missed in a folder that holds none
    return EvidenceSources(server_key=pinned_key(ledgers, file=server_key), **places)


def _kind_of(out: Path | None) -> str:
    endings = {".html": "html", ".json": "json"}
    return endings.get(out.suffix, "markdown") if out is not None else "markdown"


def _write(out: Path, text: str) -> None:
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise PrivacyError(
            "exists already", name="out", value=out, remedy="name a new file"
        ) from error
    except OSError as error:
        raise PrivacyError(
            f"cannot be written ({error.strerror})",
            name="out",
            value=out,
            remedy="free some space or choose another --out",
        ) from error
