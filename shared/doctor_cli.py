"""`fedprofile doctor`."""

from __future__ import annotations

import sys

import click

from shared.doctor import diagnose, exit_code, to_json, to_text


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(*, as_json: bool) -> None:
    """Say what is installed, which device is used and what is missing."""
    checks = diagnose()
    click.echo(to_json(checks) if as_json else to_text(checks))
    sys.exit(exit_code(checks))
