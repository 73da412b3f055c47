"""`python -m shared` is the `fedprofile` command."""

from __future__ import annotations

from shared.cli import main

main()
