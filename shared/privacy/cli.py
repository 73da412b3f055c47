"""`fedprofile privacy`: each command parses, calls one function and prints."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from shared.budget import BUDGET_HELP, parse_budget
from shared.cli import LazyGroup
from shared.errors import PrivacyError

HERE = "shared.privacy.cli"
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
@click.option("--delta", type=float, help="Total delta, below 1 / users.")
@click.option("--rounds", type=int, help="Federated rounds.")
@click.option("--local-steps", type=int, help="DP-SGD steps a round.")
@click.option("--sample-rate", type=float, help="Poisson rate of a user a step; 1: full batch.")
@click.option("--rank", type=int, help="Rank of the LoRA adapter.")
@click.option("--budget", help=BUDGET_HELP, metavar="PART=SHARE,...")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file of settings.")
@click.option("--set", "sets", multiple=True, help="Any setting, as name=value.", metavar="N=V")
@click.option("--ledger", type=click.Path(path_type=Path), help="Ledger that would pay.")
@AS_JSON
def plan(
    *,
    users: int,
    config: Path | None,
    sets: tuple[str, ...],
    budget: str | None,
    ledger: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Find the noise that a budget needs, and what other plans would cost."""
    from shared.privacy.ledger.planner import forecast
    from shared.privacy.ledger.status import read_ledger
    from shared.privacy.ledger.tables import print_plan
    from shared.settings_sources import assignments, load_settings

    options: dict[str, Any] = {
        PLAN_OPTIONS[name]: value for name, value in given.items() if value is not None
    }
    settings = load_settings(
        file=config,
        environment=os.environ,
        options=options | parse_budget(budget) | assignments(sets),
    )
    chain = None if ledger is None else read_ledger(ledger)[0]
    found = forecast(settings, n_users=users, chain=chain)
    if as_json:
        click.echo(json.dumps(found.to_json()))
    else:
        print_plan(found)


@click.command()
@LEDGERS
@click.option("--shops", help="Also what a user of these shops pays: A,B,C or all.", metavar="LIST")
@AS_JSON
def status(*, ledgers: Path, shops: str | None, as_json: bool) -> None:
    """Say what each shop has spent, what is left and about how many rounds fit."""
    from shared.privacy.ledger.shop_files import find_ledgers
    from shared.privacy.ledger.status import compose, read_ledger
    from shared.privacy.ledger.status import status as status_of
    from shared.privacy.ledger.tables import print_status

    chains = [read_ledger(path) for path in find_ledgers(ledgers)]
    now = datetime.now(UTC)
    accounts = [status_of(chain, now=now, torn=torn) for chain, torn in chains]
    composition = None
    if shops is not None:
        by_name = {chain.start.shop: chain for chain, _ in chains}
        names = list(by_name) if shops == "all" else [name.strip() for name in shops.split(",")]
        unknown = [name for name in names if name not in by_name]
        if unknown:
            raise PrivacyError(
                f"--shops {','.join(unknown)}: no such ledger; known are {', '.join(by_name)}"
            )
        composition = compose([by_name[name] for name in dict.fromkeys(names)])
    if as_json:
        joint = None if composition is None else composition.to_json()
        click.echo(json.dumps({"shops": [a.to_json() for a in accounts], "composition": joint}))
    else:
        print_status(accounts, composition)


@click.command()
@LEDGERS
@TRUST
@PUBLIC_KEY
@RECEIPTS
@RELEASES
@AS_JSON
def verify(*, ledgers: Path, as_json: bool, **given: Any) -> None:
    """Check ledgers; exit code 1 and the first bad entry where one does not hold."""
    from shared.privacy.ledger.evidence import Sources, verify_all
    from shared.privacy.ledger.tables import print_verdicts

    verdicts = verify_all(ledgers, Sources(**given))
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
@RELEASES
@click.option("--format", "kind", type=click.Choice(["markdown", "html", "json"]))
@click.option("--out", type=click.Path(path_type=Path), help="File to write, instead of printing.")
@AS_JSON
def report(
    *, ledgers: Path, kind: str | None, out: Path | None, as_json: bool, **given: Any
) -> None:
    """State the guarantee of each shop in words, with all that an auditor asks."""
    from shared.privacy.ledger.evidence import Sources, verify_all
    from shared.privacy.ledger.render import to_html, to_markdown
    from shared.privacy.ledger.report import statement
    from shared.privacy.ledger.status import read_ledger
    from shared.privacy.ledger.status import status as status_of

    statements = []
    for verdict in verify_all(ledgers, Sources(**given)):
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


def _kind_of(out: Path | None) -> str:
    endings = {".html": "html", ".json": "json"}
    return endings.get(out.suffix, "markdown") if out is not None else "markdown"


def _write(out: Path, text: str) -> None:
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise PrivacyError(f"--out {out} exists already; name a new file") from error
    except OSError as error:
        raise PrivacyError(f"--out {out} cannot be written ({error.strerror})") from error
