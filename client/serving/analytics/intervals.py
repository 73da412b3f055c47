"""Intervals of what was counted: a share, a difference of shares, and a sum of amounts."""

from __future__ import annotations

import math


def wilson_interval(successes: int, trials: int) -> dict[str, float] | None:
    """Returns a share with Wilson's 95% interval (https://doi.org/10.2307/2276774).

    Items of one list are not independent, so the interval is somewhat too narrow.
    """
    if trials == 0:
        return None
    from scipy.stats import binomtest  # takes a second to import, which no start waits for

    successes = min(successes, trials)  # scipy refuses more, which a stored state may hold
    interval = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return {
        "value": successes / trials,
        "low": float(interval.low),
        "high": float(interval.high),
    }


def newcombe_difference(
    first: dict[str, float] | None, second: dict[str, float] | None
) -> dict[str, float] | None:
    """Returns how much one share lies above another, with Newcombe's 95% interval.

    His method 10 (https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I)
    combines the two intervals of `wilson_interval`; scipy has none for a difference of shares.

    Args:
        first: From `wilson_interval`.
        second: From `wilson_interval`.
    """
    if first is None or second is None:
        return None
    value = first["value"] - second["value"]
    below = math.hypot(first["value"] - first["low"], second["high"] - second["value"])
    above = math.hypot(first["high"] - first["value"], second["value"] - second["low"])
    return {"value": value, "low": value - below, "high": value + above}


MIN_PURCHASES = 10
"""Purchases from which on a sum has an interval; with fewer the normal approximation is a guess."""


def sum_interval(
    total: float, squares: float, *, purchases: int, trials: int
) -> dict[str, float | None]:
    """Returns a sum of amounts with a 95% interval, from the central limit theorem.

    Assumes: each showing brings an amount of its own, mostly 0, independent of the others. Showings
    of one user are not independent, so the interval is somewhat too narrow.

    Args:
        total: Sum of the amounts.
        squares: Sum of their squares.
        purchases: Amounts over 0; below `MIN_PURCHASES` there is no interval.
        trials: Showings, those that brought nothing included.
    """
    if purchases < MIN_PURCHASES or trials < 2:
        return {"value": total, "low": None, "high": None}
    mean = total / trials
    deviation = math.sqrt(max(squares - total * mean, 0.0) * trials / (trials - 1))
    half = 1.96 * deviation
    return {"value": total, "low": max(total - half, 0.0), "high": total + half}
