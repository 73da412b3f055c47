"""Options that commands of the server share."""

from __future__ import annotations

from pathlib import Path

import click

DIR = click.option(
    "--dir",
    "root",
    type=click.Path(path_type=Path),
    default=Path("fedprofile-server"),
    show_default=True,
    help="The server's folder.",
)
