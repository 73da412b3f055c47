"""`fedprofile privacy audit`: options to a subject, one call, one page."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from shared.settings.sources import load_settings

OPTIONS = {
    "epsilon": "privacy.epsilon",
    "delta": "privacy.delta",
    "sample_rate": "training.sample_rate",
    "rounds": "training.rounds",
}
"""Command-line option -> setting of the plan that is tested."""


@click.command(context_settings={"show_default": True})
@click.argument("run", required=False, type=click.Path(path_type=Path), metavar="[RUN|LEDGER]")
@click.option("--epsilon", type=float, help="Total epsilon of a shop.")
@click.option("--delta", type=float, help="Total delta of a shop.")
@click.option("--sample-rate", type=float, help="Poisson rate of a user a step; 1: full batch.")
@click.option("--rounds", type=int, help="Federated rounds.")
@click.option("--seed", type=int, default=0, help="Chooses the canaries; the noise has no seed.")
@click.option("--check", "checks", multiple=True, help="Only this check; may be repeated.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="cpu")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of audit.json and audit.html.")
@click.option("--json", "as_json", is_flag=True, help="Print audit.json and nothing else.")
def audit(
    *,
    run: Path | None,
    seed: int,
    checks: tuple[str, ...],
    device: str,
    out: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Test the privacy of the installed code, and of what a RUN recorded.

    RUN is a run folder or its report.json, LEDGER a ledger or a folder of them; the plan is tested
    with the noise that was recorded. Without it, the default plan is tested. An option changes the
    plan, and its noise is found anew. Exit code 1 if a check fails.
    """
    from rich.console import Console

    from shared.runtime.environment import resolve_device
    from simulation.audit.checks.subject import subject_of_path, subject_of_settings
    from simulation.audit.page import print_audit, write_audit
    from simulation.audit.run import CHECKS, run_audit

    options = {OPTIONS[name]: value for name, value in given.items() if value is not None}
    where = resolve_device(device)
    if run is not None:
        subject = subject_of_path(run, changes=options, device=where)
    else:
        settings = load_settings(file=None, environment=os.environ, options=options)
        subject = subject_of_settings(settings, device=where)
    console = Console(stderr=True)
    with console.status("Starting") as status:
        result = run_audit(
            replace(subject, seed=seed),
            checks=checks or tuple(CHECKS),
            progress=lambda text, number, of: status.update(f"{number + 1} of {of}: {text}"),
        )
    files = write_audit(result, out) if out is not None else {}
    if as_json:
        click.echo(result.to_json(), nl=False)
    else:
        print_audit(result, files=files, console=Console())
    if not result.passed:
        click.get_current_context().exit(1)
