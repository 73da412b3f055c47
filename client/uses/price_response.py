"""How purchases of a category went with its prices, promotions held equal, and a careful what-if.

An association: a shop lowers prices when it expects to sell more, and what else it did that week is
not known. Nothing here is about a person.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from shared.errors import ConfigError
from shared.metrics.bootstrap import Z_95
from shared.uses.definitions.price import COLUMNS, read
from shared.uses.history import Codes, Floats, History

MIN_ITEMS = 10
"""Items with prices that a category needs."""
_WEEKS_BACK = (0, 4, 8, 12)
"""Blocks of 4 weeks, counted from the end, whose weeks are used."""
_CONTROLS = ("stores with display", "stores with mailer")
_PRICE, _USUAL = "log of price over usual price", "log of usual price"


@dataclass(frozen=True)
class PriceResponse:
    """One category.

    Attributes:
        category: Its name.
        elasticity: Per cent of pieces that went with one per cent of price, display and mailer held
            equal, each item against its own mean.
        low: Lower end of its 95% interval, items as clusters.
        high: Upper end.
        items: Items behind it.
        lowest: 5% quantile of price over usual price that was seen.
        highest: 95% quantile.
    """

    category: str
    elasticity: float
    low: float
    high: float
    items: int
    lowest: float
    highest: float


@dataclass(frozen=True)
class WhatIf:
    """What went with such a price: factors on pieces and revenue, with 95% intervals."""

    pieces: tuple[float, float, float]
    revenue: tuple[float, float, float]


def price_responses(history: History) -> list[PriceResponse]:
    """Returns all categories with prices of enough items, most items first.

    Weeks without a sale have no price and are left out, which draws elasticities towards 0.
    """
    item, price, relative, controls, sold = _weeks(history)
    category = history.category[item]
    responses = []
    for code in np.unique(category):
        rows = category == code
        if len(np.unique(item[rows])) < MIN_ITEMS or np.ptp(price[rows]) == 0:
            continue
        x = np.column_stack([price[rows], controls[rows]])
        slope, error = _within(x, np.log(sold[rows]), item[rows])
        lowest, highest = np.exp(np.quantile(relative[rows], [0.05, 0.95]))
        responses.append(
            PriceResponse(
                history.category_names[code],
                slope,
                slope - Z_95 * error,
                slope + Z_95 * error,
                len(np.unique(item[rows])),
                float(lowest),
                float(highest),
            )
        )
    return sorted(responses, key=lambda response: -response.items)


def what_if(response: PriceResponse, factor: float) -> WhatIf:
    """Tells what went with prices at `factor` times the usual.

    Raises:
        ConfigError: No such price was seen in the category.
    """
    if not response.lowest <= factor <= response.highest:
        raise ConfigError(
            f"is outside the prices seen in {response.category}, {response.lowest:.2f} to "
            f"{response.highest:.2f} of the usual",
            name="price",
            value=factor,
            remedy="give one between them with --price",
        )
    slopes = (response.elasticity, response.low, response.high)
    pieces = [math.exp(slope * math.log(factor)) for slope in slopes]
    low, high = sorted(pieces[1:])
    return WhatIf((pieces[0], low, high), (pieces[0] * factor, low * factor, high * factor))


def _weeks(history: History) -> tuple[Codes, Floats, Floats, Floats, Floats]:
    """Returns item, log of price, the same over usual, controls and pieces of each sold week."""
    tables = [read(history.before(history.end - 7 * back)) for back in _WEEKS_BACK]
    x = np.concatenate([table.features for table in tables])
    item = np.concatenate([table.unit for table in tables])
    sold = np.concatenate([t.known for t in tables if t.known is not None])
    controls = x[:, [COLUMNS.index(name) for name in _CONTROLS]]
    relative = x[:, COLUMNS.index(_PRICE)]
    # The usual price moves from block to block; beside an item's mean the price itself counts.
    return item, relative + x[:, COLUMNS.index(_USUAL)], relative, controls, sold


def _within(x: Floats, y: Floats, item: Codes) -> tuple[float, float]:
    """Fits `y` on `x` within items; returns the first slope and its clustered standard error.

    https://doi.org/10.3368/jhr.50.2.317
    """
    _, place, sizes = np.unique(item, return_inverse=True, return_counts=True)
    both = np.column_stack([x, y])
    means = np.stack([np.bincount(place, column) / sizes for column in both.T], axis=1)
    both = both - means[place]
    x, y = both[:, :-1], both[:, -1]
    inverse = np.linalg.pinv(x.T @ x)
    slope = inverse @ (x.T @ y)
    scores = x * (y - x @ slope)[:, None]
    sums = np.stack([np.bincount(place, column) for column in scores.T], axis=1)
    g = len(sizes)
    variance = inverse @ (sums.T @ sums) @ inverse * g / max(g - 1, 1)
    return float(slope[0]), float(np.sqrt(max(variance[0, 0], 0.0)))
