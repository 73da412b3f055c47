"""`fedprofile simulate`: options to settings, one call, one printed result."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from shared.commands.options import BUDGET_HELP, parse_budget
from shared.errors import ConfigError
from shared.settings.run_settings import RunSettings
from shared.settings.sources import assignments, load_settings
from simulation.runs.variants import (
    CurveSize,
    Sweep,
    default_jobs,
    parse_epsilons,
    parse_noises,
    parse_sizes,
    parse_users_curve,
)

SUMS_HELP = "Add up by the real protocol, or by its sum."
OPTIONS = {
    "data": "data.source",
    "shops": "data.shops",
    "shop_column": "data.shop_column",
    "order_column": "data.order_column",
    "split": "data.split",
    "validation_start": "data.validation_start",
    "test_start": "data.test_start",
    "test_end": "data.test_end",
    "min_user_items": "data.min_user_items",
    "min_shop_users": "data.min_shop_users",
    "encoder": "model.encoder",
    "secure_aggregation": "privacy.secure_aggregation",
    "max_missing": "privacy.max_missing",
    "max_colluding": "privacy.max_colluding",
    "rank": "model.rank",
    "rounds": "training.rounds",
    "local_steps": "training.local_steps",
    "sample_rate": "training.sample_rate",
    "aggregation": "federation.aggregation",
    "delta": "privacy.delta",
    "head_items": "privacy.head_items",
    "seed": "seed",
    "primary": "evaluation.primary",
    "engine": "engine",
    "device": "device",
}
"""Command-line option -> setting; any other setting is reached with --set."""


@click.command(context_settings={"show_default": True})
@click.option("--data", help="complete-journey, or a file or folder.", metavar="PATH")
@click.option(
    "--shops", help="r19, r10, store (Complete Journey), virtual:N or items:N.", metavar="NAME"
)
@click.option("--shop-column", help="Column that names the shop in one table.", metavar="COLUMN")
@click.option("--order-column", help="Column that stands for time.", metavar="COLUMN")
@click.option("--split", type=click.Choice(["time", "leave-last-out"]))
@click.option("--validation-start", help="Week number or date.", metavar="WEEK|DATE")
@click.option("--test-start", help="Week number or date.", metavar="WEEK|DATE")
@click.option("--test-end", help="Week number or date.", metavar="WEEK|DATE")
@click.option("--min-user-items", type=int, help="Distinct items that a user needs.")
@click.option("--min-shop-users", type=int, help="Users that a shop needs.")
@click.option("--encoder", help="Hugging Face name or folder.", metavar="NAME")
@click.option("--rank", type=int, help="Rank of the LoRA adapters.")
@click.option("--rounds", type=int, help="Federated rounds.")
@click.option("--local-steps", type=int, help="DP-SGD steps in a shop and round.")
@click.option("--sample-rate", type=float, help="Poisson rate of a user a step; 1: full batch.")
@click.option("--aggregation", type=click.Choice(["frozen-a", "average", "fedsvd"]))
@click.option("--epsilon", help="Total epsilon of a shop; 1,3,8,none sweeps.", metavar="LIST")
@click.option("--noise", help="Who adds it: shop, shared, or shop,shared sweeps.", metavar="LIST")
@click.option("--secure-aggregation", type=click.Choice(["real", "ideal"]), help=SUMS_HELP)
@click.option("--max-missing", type=int, help="Shops that may be missing from a secure sum.")
@click.option("--max-colluding", type=int, help="Shops that may help the server.")
@click.option("--delta", type=float, help="Total delta of a shop.")
@click.option("--budget", help=BUDGET_HELP, metavar="PART=SHARE,...")
@click.option("--head-items", type=int, help="Items whose co-purchase pairs are released.")
@click.option("--new-shops", help="Users of shops that join later: 0,15,60,200.", metavar="LIST")
@click.option("--users-curve", help="Sizes of a curve: 2000,8000,22000x32.", metavar="LIST")
@click.option("--primary", help="Surface that is judged by itself.", metavar="SURFACE")
@click.option("--no-privacy", is_flag=True, help="Train without noise, for comparison only.")
@click.option("--seed", type=int, help="Seed of everything random.")
@click.option("--seeds", type=click.IntRange(1, 100), default=1, help="Seeds, counted from --seed.")
@click.option("--engine", type=click.Choice(["in-process", "ray"]))
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--workers", type=click.IntRange(1), default=os.cpu_count(), help="Shops at once.")
@click.option("--jobs", type=click.IntRange(1), help="Runs of a sweep that train at once.")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file of settings.")
@click.option("--set", "sets", multiple=True, help="Any setting, as name=value.", metavar="N=V")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/...]")
@click.option("--resume", is_flag=True, help="Go on in the folder of an interrupted run.")
@click.option("--save-rankings", is_flag=True, help="Write the top 20 of every method.")
@click.option("--save-releases", is_flag=True, help="Keep what each shop sent, as sent.")
@click.option("--json", "as_json", is_flag=True, help="Print report.json and nothing else.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def simulate(
    *,
    epsilon: str | None,
    noise: str | None,
    budget: str | None,
    new_shops: str | None,
    users_curve: str | None,
    no_privacy: bool,
    seeds: int,
    workers: int,
    jobs: int | None,
    config: Path | None,
    sets: tuple[str, ...],
    out: Path | None,
    resume: bool,
    save_rankings: bool,
    save_releases: bool,
    as_json: bool,
    quiet: bool,
    **direct: Any,
) -> None:
    """Run a private federated simulation and measure what it cost and earned.

    Without options: 19 shops of the embedded data set, epsilon 8, about four minutes.
    """
    options: dict[str, Any] = {
        OPTIONS[name]: value for name, value in direct.items() if value is not None
    }
    options |= parse_budget(budget) | assignments(sets)
    if new_shops is not None:
        options["evaluation.new_shops"] = parse_sizes(new_shops)
    if save_rankings:
        options["evaluation.save_rankings"] = True
    if save_releases:
        options["evaluation.save_releases"] = True
    epsilons = parse_epsilons(epsilon, no_privacy=no_privacy)
    noises = parse_noises(noise)
    if epsilons:
        options["privacy.epsilon"] = epsilons[0]
    if noises:
        options["privacy.noise"] = noises[0]
    settings = load_settings(file=config, environment=os.environ, options=options)
    privacy = settings.privacy
    kinds = noises or ((privacy.noise,) if privacy.noise else ())
    sweep = Sweep(epsilons or (privacy.epsilon,), kinds, seeds)
    if resume and out is None:
        raise ConfigError(
            "needs the folder of the interrupted run", name="resume", remedy="name it with --out"
        )
    folder = out or default_folder(settings, sweep=len(sweep.variants(settings)) > 1)
    curve = None if users_curve is None else parse_users_curve(users_curve)
    if jobs is None:
        jobs = 1 if settings.engine == "ray" else default_jobs(os.cpu_count() or 1)
    if curve is not None:
        _run_curve(
            settings,
            sweep,
            curve,
            workers=workers,
            jobs=jobs,
            folder=folder,
            resume=resume,
            as_json=as_json,
            quiet=quiet,
        )
        return
    _run(
        settings,
        sweep,
        workers=workers,
        jobs=jobs,
        folder=folder,
        resume=resume,
        as_json=as_json,
        quiet=quiet,
    )


def _run_curve(
    settings: RunSettings,
    sweep: Sweep,
    sizes: tuple[CurveSize, ...],
    *,
    workers: int,
    jobs: int,
    folder: Path,
    resume: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Runs and prints a users curve."""
    from rich.console import Console

    from simulation.experiments.users_curve.console import print_users_curve
    from simulation.reporting.terminal import Progress
    from simulation.users_curve import run_users_curve

    with Progress(quiet=quiet or as_json) as progress:
        curve = run_users_curve(
            settings,
            sweep,
            sizes,
            workers=workers,
            jobs=jobs,
            folder=folder,
            resume=resume,
            progress=progress,
        )
    if as_json:
        click.echo(curve.to_json(), nl=False)
    else:
        print_users_curve(curve, folder=folder, console=Console())


def _run(
    settings: RunSettings,
    sweep: Sweep,
    *,
    workers: int,
    jobs: int,
    folder: Path,
    resume: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Runs and prints; what is heavy to import is imported here."""
    from rich.console import Console

    from simulation.experiments.new_shops.console import (
        print_new_shops,
        print_new_shops_verdict,
    )
    from simulation.experiments.single.tables import print_report
    from simulation.experiments.sweep.console import print_sweep
    from simulation.reporting.terminal import Progress
    from simulation.simulate import run_simulation

    with Progress(quiet=quiet or as_json) as progress:
        finished = run_simulation(
            settings,
            sweep,
            workers=workers,
            jobs=jobs,
            folder=folder,
            resume=resume,
            progress=progress,
        )
    if as_json:
        click.echo((finished.sweep or finished.reports[0]).to_json(), nl=False)
    elif finished.sweep is not None:
        print_sweep(finished.sweep, folder=folder, console=Console())
    else:
        print_report(finished.reports[0], folder=folder, console=Console())
    if finished.new_shops is not None and not as_json:
        asked = bool(settings.evaluation.new_shops)
        shown = print_new_shops if asked else print_new_shops_verdict
        shown(finished.new_shops, folder=folder, console=Console())


def default_folder(settings: RunSettings, *, sweep: bool) -> Path:
    """Names a run folder by time, data and epsilon; no two runs share one."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S")
    epsilon = settings.privacy.epsilon
    kind = "sweep" if sweep else "no-privacy" if epsilon is None else f"epsilon-{epsilon:g}"
    name = settings.name or f"{stamp}-{Path(settings.data.source).name}-{kind}"
    return Path("runs") / name
