"""`python -m shared` is the `fedprofile` command."""

from shared.cli import main

main()
