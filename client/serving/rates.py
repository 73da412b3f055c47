"""Shares and differences of shares, with intervals that hold for small counts too."""

from __future__ import annotations

import math

Z = 1.959964
"""Of 95%."""


def interval(successes: int, trials: int) -> dict[str, float] | None:
    """Returns a share with Wilson's 95% interval (https://doi.org/10.2307/2276774).

    Items of one list are not independent, so the interval is somewhat too narrow.
    """
    if trials == 0:
        return None
    share = min(successes / trials, 1.0)
    centre = (share + Z**2 / (2 * trials)) / (1 + Z**2 / trials)
    half = Z * math.sqrt(share * (1 - share) / trials + Z**2 / (4 * trials**2))
    half /= 1 + Z**2 / trials
    return {"value": share, "low": max(centre - half, 0.0), "high": min(centre + half, 1.0)}


def difference(
    first: dict[str, float] | None, second: dict[str, float] | None
) -> dict[str, float] | None:
    """Returns how much one share lies above another, with Newcombe's 95% interval.

    His method 10 (https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I)
    puts the two intervals of `interval` together.

    Args:
        first: From `interval`.
        second: From `interval`.
    """
    if first is None or second is None:
        return None
    value = first["value"] - second["value"]
    below = math.hypot(first["value"] - first["low"], second["high"] - second["value"])
    above = math.hypot(first["high"] - first["value"], second["value"] - second["low"])
    return {"value": value, "low": value - below, "high": value + above}
