"""What an owner alone decides: who adds up together, and what the shop's ledger allows."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from client.deploy.cli import DIR, JSON
from shared.commands.options import PASSPHRASE_FILE

COMPARE = (
    "compare the whole fingerprint with the other owners, by telephone or in person and never "
    "through the server, then run `fedprofile node roster accept FINGERPRINT`"
)
NEXT = {
    "offered": COMPARE,
    "accepted": "wait; the server's owner runs `fedprofile server roster make` again once all "
    "owners have accepted",
    "signed": "nothing; all shops signed this roster",
}


@click.group()
def roster() -> None:
    """See which shops add up together, and accept them."""


@roster.command()
@DIR
@JSON
def show(root: Path, as_json: bool) -> None:
    """Show the roster that the server offered, and what to do about it."""
    from client.deploy.folder import NodeFolder
    from client.deploy.roster import WORDS, roster_report
    from shared.secure_aggregation.roster_words import roster_lines

    report = roster_report(NodeFolder(root).require())
    if as_json:
        click.echo(json.dumps(report))
        return
    click.echo(f"federation {report['federation']}, {len(report['shops'])} shops")
    for line in roster_lines(report, marks={report["shop"]: "your own"}):
        click.echo(line)
    click.echo(f"state: {WORDS[report['state']]}")
    for line in _changes(report["changes"]):
        click.echo(line)
    click.echo(f"next: {_next(report)}")


def _changes(changes: dict[str, Any] | None) -> list[str]:
    if changes is None:
        return []
    kinds = ("joined", "left", "new key", "numbers")
    told = [f"  {kind}: {', '.join(changes[kind])}" for kind in kinds if changes[kind]]
    return [f"changed since you accepted {changes['fingerprint'][:16]}…:", *told]


def _next(report: dict[str, Any]) -> str:
    if not report["own_key_listed"]:
        return (
            "do not accept it: it does not list your shop with the key of your ledger; ask the "
            "server's owner to run `fedprofile server roster make` while your node runs"
        )
    return NEXT[report["state"]]


@roster.command()
@click.argument("fingerprint", nargs=-1, required=True)
@DIR
@PASSPHRASE_FILE
def accept(fingerprint: tuple[str, ...], root: Path) -> None:
    """Sign the offered roster, if FINGERPRINT is its own; compare it with the other owners first.

    All 64 digits, or the first 32 at least; spaces and hyphens do not matter.
    """
    from client.deploy.folder import NodeFolder
    from client.deploy.roster import accept_roster
    from shared.secure_aggregation.roster_words import spoken

    accepted = accept_roster(NodeFolder(root).require(), "".join(fingerprint))
    click.echo(f"accepted {spoken(accepted.digest())}, {accepted.size} shops")
    click.echo(f"next: {NEXT['accepted']}")


@click.command("max-users")
@click.argument("max_users", type=click.IntRange(1))
@click.option("--delta", type=float, help="Lifetime delta from here on.  [default: the largest]")
@DIR
@PASSPHRASE_FILE
def raise_users(max_users: int, delta: float | None, root: Path) -> None:
    """State that the shop may have MAX_USERS users; nothing that was spent is forgotten."""
    from client.deploy.folder import NodeFolder
    from client.deploy.setup import raise_max_users

    limits = raise_max_users(NodeFolder(root).require(), max_users, delta=delta)
    click.echo(f"at most {limits.max_users} users; lifetime delta {limits.delta:g} from here on")


@click.group()
def ledger() -> None:
    """Look after the shop's ledger."""


@ledger.command()
@DIR
@click.option(
    "--receipts", type=click.Path(path_type=Path), help="The server's file of the shop's receipts."
)
@click.option("--new-ledger", is_flag=True, help="Ledger or key is lost, and there is no backup.")
@JSON
@PASSPHRASE_FILE
def restore(root: Path, receipts: Path | None, new_ledger: bool, as_json: bool) -> None:
    """Count what was lost, as far as the server's receipts prove it; then releases go on."""
    from client.deploy.folder import NodeFolder
    from client.deploy.node_ledger import restore_ledger

    done = restore_ledger(NodeFolder(root).require(), receipts=receipts, new=new_ledger)
    if as_json:
        click.echo(json.dumps(asdict(done)))
    elif done.counted is None:
        click.echo(f"ledger of {done.shop}: no line that the server signed is missing")
    else:
        click.echo(
            f"ledger of {done.shop}: counted up to line {done.counted}, which the server signed; "
            f"epsilon {done.before:.4g} -> {done.epsilon:.4g} of {done.limit:g} at delta "
            f"{done.delta:g}"
        )


@ledger.command()
@DIR
@click.option("--epsilon", type=float, required=True, help="Epsilon allowed from here on.")
@click.option("--reason", required=True, help="Why; it stays in the ledger and in every report.")
@click.option("--window-days", type=float, help="Length of a window.  [default: as it was]")
@click.option("--window-epsilon", type=float, help="Epsilon within a window.")
@JSON
@PASSPHRASE_FILE
def renew(
    root: Path,
    epsilon: float,
    reason: str,
    window_days: float | None,
    window_epsilon: float | None,
    as_json: bool,
) -> None:
    """Allow more epsilon; what was spent stays spent, and every report states the sum."""
    from client.deploy.folder import NodeFolder
    from client.deploy.node_ledger import open_ledger
    from shared.privacy.ledger.reporting.renewals import MEANING

    opened = open_ledger(NodeFolder(root).require())
    done = opened.renew(
        epsilon=epsilon, reason=reason, window_days=window_days, window_epsilon=window_epsilon
    )
    if as_json:
        click.echo(done.model_dump_json())
    else:
        click.echo(
            f"ledger of {opened.shop}: the budget is renewed in line {opened.chain.renewed}. "
            f"Epsilon {max(done.epsilon, done.epsilon_check):.4g} is spent in all at delta "
            f"{done.limits.delta:g}; what is reserved from here on may reach "
            f"{done.limits.epsilon:g}\n{MEANING}"
        )
