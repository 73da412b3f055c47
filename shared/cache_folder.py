"""The folder for everything that can be computed again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Returns `$FEDPROFILE_CACHE`, else `fedprofile` in `$XDG_CACHE_HOME` or `~/.cache`."""
    chosen = os.environ.get("FEDPROFILE_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedprofile"
