"""How many pieces of an item are bought in a week at its price, with display and mailer.

Weeks of the last 4 are told from what was known before them and from their price and promotions,
which a shop sets itself. An association, never a cause: prices are lowered when more is expected to
be bought. The rule is the mean of 8 weeks.
"""

from __future__ import annotations

import numpy as np

from shared.uses.history import Codes, Floats, History
from shared.uses.interface import Label, Table, Use, weekly
from shared.uses.metrics import wape

SPAN = 28.0
WEEKS = 30
"""The 26 before and the 4 that are asked about."""
PAST = 26
MIN_WEEKS = 13
"""Weeks of the 26 in which an item must have been sold."""
COLUMNS = (
    "constant",
    "mean of 4 weeks",
    "mean of 8 weeks",
    "mean of 26 weeks",
    "week before",
    "log of price over usual price",
    "log of usual price",
    "stores with display",
    "stores with mailer",
    "display against usual",
    "mailer against usual",
    "log of last price over usual price",
    "all items, 4 weeks against 26",
)


def read(history: History) -> Table:
    """Returns items with a price in each of the last 4 weeks, for those sold in most of 26."""
    units, price = weekly_units_and_prices(history)
    display, mailer = _promoted(history)
    item = np.flatnonzero((units[:, :PAST] > 0).sum(axis=1) >= MIN_WEEKS)
    units, price, display, mailer = (part[item] for part in (units, price, display, mailer))
    usual = np.nanmedian(price[:, :PAST], axis=1)
    last = _last_known(price[:, :PAST])
    everything = units[:, :PAST].sum(axis=0)
    trend = np.log((everything[-4:].mean() + 1) / (everything.mean() + 1))
    known = [np.log1p(units[:, PAST - k : PAST].mean(axis=1)) for k in (4, 8, PAST)]
    known.append(np.log1p(units[:, PAST - 1]))
    parts = []
    for week in range(PAST, WEEKS):
        shown = [np.log1p(display[:, week]) / 3, np.log1p(mailer[:, week]) / 3]
        before = [np.log1p(p[:, :PAST]).mean(axis=1) / 3 for p in (display, mailer)]
        columns = [
            np.ones(len(item)),
            *known,
            np.clip(np.log(price[:, week] / usual), -2, 2),
            np.log(usual),
            *shown,
            *(now - then for now, then in zip(shown, before, strict=True)),
            np.clip(np.log(last / usual), -2, 2),
            np.full(len(item), trend),
        ]
        parts.append(np.stack(columns, axis=1))
    rows = np.tile(np.arange(len(item)), WEEKS - PAST)
    features = np.concatenate(parts)
    sold = units[:, PAST:].T.ravel()
    is_usable = np.isfinite(features).all(axis=1) & (sold > 0)
    return Table(
        unit=item[rows][is_usable],
        group=np.zeros(int(is_usable.sum()), dtype=np.int64),
        features=features[is_usable],
        rule=np.tile(units[:, PAST - 8 : PAST].mean(axis=1), WEEKS - PAST)[is_usable],
        keys=item[rows][is_usable],
        known=sold[is_usable],
    )


def weekly_units_and_prices(history: History) -> tuple[Floats, Floats]:
    """Returns pieces and mean price paid by item and week, `(n_items, WEEKS)` each.

    The newest week is the last; the price is NaN in weeks without a sale.
    """
    events = history.events
    week = ((history.end - events.time) // 7).astype(np.int64)
    rows = (week < WEEKS) & (events.price > 0)
    n = len(history.category)
    cell = events.item[rows].astype(np.int64) * WEEKS + WEEKS - 1 - week[rows]
    pieces = events.quantity[rows].astype(np.float64)
    units = np.bincount(cell, pieces, minlength=n * WEEKS).astype(np.float64)
    paid = np.bincount(cell, pieces * events.price[rows], minlength=n * WEEKS)
    with np.errstate(invalid="ignore", divide="ignore"):
        price = paid / units
    return units.reshape(n, WEEKS), price.reshape(n, WEEKS)


def _promoted(history: History) -> tuple[Floats, Floats]:
    shown = history.promotions
    week = ((history.end - shown.time - 1e-9) // 7).astype(np.int64)
    rows = (week >= 0) & (week < WEEKS)
    parts = []
    for stores in (shown.display, shown.mailer):
        table = np.zeros((len(history.category), WEEKS))
        np.add.at(table, (shown.item[rows], WEEKS - 1 - week[rows]), stores[rows])
        parts.append(table)
    return parts[0], parts[1]


def _last_known(price: Floats) -> Floats:
    last: Codes = (price.shape[1] - 1 - np.isfinite(price[:, ::-1]).argmax(axis=1)).astype(np.int64)
    known: Floats = price[np.arange(len(price)), last]
    return known


USES = (
    Use(
        name="price",
        purpose="how many pieces of an item go at a price, with display and mailer",
        unit="item",
        label=Label("number", "pieces in a week", 0.0, SPAN, 1.0),
        columns=COLUMNS,
        rule="mean of 8 weeks",
        metrics={"wape": wape},
        read=read,
        occasions=weekly(28),
        head="trees",
        needs=("prices", "promotions"),
        level="chain",
    ),
)
