"""`python -m shared` is the `fedprofile` command."""

from __future__ import annotations

from shared.cli import main

if __name__ == "__main__":  # else a process of `multiprocessing` looks at the module
    main()
