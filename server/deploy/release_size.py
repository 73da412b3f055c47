"""How large a release may be: a run sends its file as one part, in one request of bounded size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from shared.errors import ConfigError

MAX_RELEASE = 256_000_000
"""Bytes of a release's file. The pairs of the largest head have 50 MB; 256 MB hold an adapter of 64
million numbers."""
HEADER_BYTES = 1_000_000
"""Room for names in it."""


def check_release_sizes(adapter: Mapping[str, npt.NDArray[Any]], *, n_items: int) -> None:
    """Refuses a run whose releases could not be sent at its end, before anybody pays for it.

    Args:
        adapter: All of its matrices.
        n_items: Items of the public catalogue.

    Raises:
        ConfigError: Adapter or counts are too large.
    """
    most = MAX_RELEASE - HEADER_BYTES
    sizes = {"adapter": sum(array.size for array in adapter.values()), "counts": n_items}
    remedies = {
        "adapter": "lower model.rank or name fewer model.target_modules",
        "counts": "make the catalogue smaller",
    }
    for kind, numbers in sizes.items():
        if 4 * numbers > most:
            raise ConfigError(
                f"{kind}={4 * numbers} bytes must be at most {most} to be sent as a release; "
                f"{remedies[kind]}"
            )
