"""`fedprofile simulate` in this process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from shared.cli import root


def run(*arguments: str) -> Result:
    """Runs the command and returns how it ended."""
    return CliRunner().invoke(root, ["simulate", *arguments], catch_exceptions=True)
