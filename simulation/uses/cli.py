"""`fedprofile uses`: what uses there are, and what they are worth on a data set."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

import click

from shared.cli import LazyGroup
from shared.errors import ConfigError
from shared.settings.run_settings import RunSettings
from shared.settings.sources import assignments, load_settings
from shared.uses.registry import chosen

HERE = "simulation.uses.cli"
COMMANDS = {
    "list": (HERE, "list_", "name the uses and what leaves a shop for each"),
    "train": (HERE, "train", "train shops' own heads and write lists to act on"),
    "segments": (HERE, "segments", "divide shops' users by what they do"),
    "prices": (HERE, "prices", "show how purchases went with prices, by category"),
    "evaluate": (HERE, "evaluate", "measure uses against rule, own and pooled heads"),
}
"""Name -> module, attribute, one line of help."""


@click.group(name="uses", cls=LazyGroup, table=COMMANDS)
def uses() -> None:
    """Other questions than what to recommend, on the same data."""


@click.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def list_(*, as_json: bool) -> None:
    """Name the uses and what leaves a shop for each."""
    rows = [
        {
            "use": use.name,
            "unit": use.unit,
            "purpose": use.purpose,
            "rule": use.rule,
            "release": use.release,
        }
        for use in chosen(())
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        leaves = "moments leave the shop" if row["release"] == "moments" else "nothing leaves"
        click.echo(f"{row['use']:<18} {row['purpose']}; rule: {row['rule']}; {leaves}")


@click.command(context_settings={"show_default": True})
@click.argument("names", nargs=-1, metavar="[USE]...")
@click.option("--data", help="complete-journey, or a file or folder.", metavar="PATH")
@click.option("--shops", help="r19, r10, store (Complete Journey) or virtual:N.", metavar="NAME")
@click.option("--shop-column", help="Column that names the shop in one table.", metavar="COLUMN")
@click.option("--epsilon", type=float, default=8.0, help="Of a whole run with recommendations.")
@click.option("--no-privacy", is_flag=True, help="Without noise, for comparison.")
@click.option("--delta", type=float, help="Of the whole run.  [default: 1e-6]")
@click.option("--share", type=float, default=0.2, help="Share of the budget (of mu^2) for uses.")
@click.option("--noise", type=click.Choice(["shared", "shop"]), default="shared")
@click.option("--window", type=click.Choice(["test", "validation"]), default="test")
@click.option("--seeds", type=click.IntRange(1, 1000), default=5, help="Draws of noise and users.")
@click.option("--own-users", type=click.IntRange(0, 100_000), default=5, help="Of a new shop.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of everything drawn.")
@click.option("--set", "sets", multiple=True, help="Any setting, as name=value.", metavar="N=V")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def evaluate(
    *,
    names: tuple[str, ...],
    data: str | None,
    shops: str | None,
    shop_column: str | None,
    epsilon: float,
    no_privacy: bool,
    delta: float | None,
    share: float,
    noise: Literal["shop", "shared"],
    window: Literal["test", "validation"],
    seeds: int,
    own_users: int,
    seed: int,
    sets: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure uses: rule, own head, the head of all shops and the pooled one, with intervals."""
    named = {
        "data.source": data,
        "data.shops": shops,
        "data.shop_column": shop_column,
        "privacy.delta": delta,
    }
    settings = _settings(named, sets)
    if not 0 < share <= 1:
        raise ConfigError(
            "must be above 0 and at most 1",
            name="share",
            value=share,
            remedy="change it with --share",
        )
    _run(
        names,
        settings,
        {"epsilon": None if no_privacy else epsilon, "share": share, "noise": noise},
        {"window": window, "seeds": seeds, "own_users": own_users, "seed": seed},
        as_json=as_json,
    )


@click.command(context_settings={"show_default": True})
@click.argument("names", nargs=-1, metavar="[USE]...")
@click.option("--data", help="complete-journey, or a file or folder.", metavar="PATH")
@click.option("--shops", help="r19, r10, store (Complete Journey) or virtual:N.", metavar="NAME")
@click.option("--shop-column", help="Column that names the shop in one table.", metavar="COLUMN")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of everything drawn.")
@click.option("--set", "sets", multiple=True, help="Any setting, as name=value.", metavar="N=V")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="New folder.")
def train(
    *,
    names: tuple[str, ...],
    data: str | None,
    shops: str | None,
    shop_column: str | None,
    seed: int,
    sets: tuple[str, ...],
    out: Path,
) -> None:
    """Train each shop's own heads and write OUT/SHOP/USE.csv, best first, with reasons.

    Nothing leaves the machine and nothing is spent.
    """
    from simulation.uses.lists import write_lists

    named = {"data.source": data, "data.shops": shops, "data.shop_column": shop_column}
    settings = _settings(named, sets)
    for line in write_lists(chosen(names), settings.data, out, seed=seed):
        click.echo(line)


@click.command(context_settings={"show_default": True})
@click.option("--data", help="complete-journey, or a file or folder.", metavar="PATH")
@click.option("--shops", help="r19, r10, store (Complete Journey) or virtual:N.", metavar="NAME")
@click.option("--shop-column", help="Column that names the shop in one table.", metavar="COLUMN")
@click.option("--segments", "k", type=int, default=5, help="Segments of each shop.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the fit's starts.")
@click.option("--set", "sets", multiple=True, help="Any setting, as name=value.", metavar="N=V")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="New folder.")
def segments(
    *,
    data: str | None,
    shops: str | None,
    shop_column: str | None,
    k: int,
    seed: int,
    sets: tuple[str, ...],
    out: Path,
) -> None:
    """Divide each shop's users by what they do; writes OUT/SHOP/segments.csv.

    Nothing leaves the machine and nothing is spent.
    """
    from simulation.uses.lists import write_segments

    named = {"data.source": data, "data.shops": shops, "data.shop_column": shop_column}
    settings = _settings(named, sets)
    for line in write_segments(settings.data, out, k=k, seed=seed):
        click.echo(line)


@click.command(context_settings={"show_default": True})
@click.option("--category", help="Show what went with a price of this category.", metavar="NAME")
@click.option("--price", type=float, help="Price over the usual price, such as 0.9.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def prices(*, category: str | None, price: float | None, as_json: bool) -> None:
    """Show how purchases went with prices on Complete Journey, display and mailer held equal.

    An association, never a cause; nothing is about a person and nothing leaves the machine.
    """
    from simulation.uses.prices import price_lines

    settings = load_settings(file=None, environment=os.environ, options={})
    for line in price_lines(settings.data, category=category, price=price, as_json=as_json):
        click.echo(line)


def _run(
    names: tuple[str, ...],
    settings: RunSettings,
    release: dict[str, Any],
    measured: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    """Runs and prints; what is heavy to import is imported here."""
    from rich.console import Console

    from simulation.uses.evaluation import Protocol, evaluate_uses
    from simulation.uses.federation import MomentsPlan
    from simulation.uses.histories import load_histories
    from simulation.uses.report import print_results, to_json

    uses = chosen(names)
    plan = MomentsPlan(delta=settings.privacy.delta, **release)
    protocol = Protocol(plan=plan, draws=500, **measured)
    _ = plan.noise_multiplier
    promotions = any("promotions" in use.needs for use in uses)
    data = load_histories(settings.data, seed=protocol.seed, promotions=promotions)
    results = list(evaluate_uses(data, uses, protocol))
    if as_json:
        click.echo(json.dumps(to_json(results), indent=2))
    else:
        print_results(results, protocol, Console())


def _settings(named: dict[str, Any], sets: tuple[str, ...]) -> RunSettings:
    """Reads the settings, from what options name and `--set` assigns."""
    options = {name: value for name, value in named.items() if value is not None}
    return load_settings(file=None, environment=os.environ, options=options | assignments(sets))
