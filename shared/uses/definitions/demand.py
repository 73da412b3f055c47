"""How many pieces of a category a shop will sell in each of the next 4 weeks.

Numbers are in units of the series' own usual change from week to week, so that the mean absolute
error is the MASE (https://doi.org/10.1016/j.ijforecast.2006.03.001). The rule is the mean of 8
weeks.
"""

from __future__ import annotations

import numpy as np

from shared.uses.history import Floats, History
from shared.uses.interface import Label, Table, Use, weekly
from shared.uses.metrics import mean_absolute_error

AHEAD = 4
WEEKS = 26
SMOOTHING = (0.1, 0.3, 0.6)
"""Shares of the newest week in exponential smoothing."""
COLUMNS = (
    "constant",
    "mean of 4 weeks",
    "mean of 8 weeks",
    "mean of 26 weeks",
    "median of 8 weeks",
    "last week",
    *(f"smoothed by {share:g}" for share in SMOOTHING),
    "all categories, 4 weeks against 26",
    "weeks ahead",
)


def weekly_units(history: History, most: int) -> Floats:
    """Returns pieces sold by category and week, 0 the oldest, `(n_categories, most)`."""
    events = history.events
    week = ((history.end - events.time) // 7).astype(np.int64)
    recent = week < most
    n = len(history.category_names)
    cell = history.category[events.item[recent]] * most + (most - 1 - week[recent])
    return (
        np.bincount(cell, events.quantity[recent].astype(np.float64), minlength=n * most)
        .reshape(n, most)
        .astype(np.float64)
    )


def usual_change(units: Floats) -> Floats:
    """Returns the mean change from week to week of each series, at least 0.5 pieces."""
    change: Floats = np.abs(np.diff(units, axis=1)).mean(axis=1)
    return np.maximum(change, 0.5)


def read(history: History) -> Table:
    """Returns each series that sold in most weeks, once for each week ahead."""
    units = weekly_units(history, WEEKS)
    series = np.flatnonzero((units > 0).sum(axis=1) > WEEKS // 2)
    scaled = units[series] / usual_change(units[series])[:, None]
    everything = units.sum(axis=0)
    trend = np.log((everything[-4:].mean() + 1) / (everything.mean() + 1))
    columns = [
        *(scaled[:, -k:].mean(axis=1) for k in (4, 8, WEEKS)),
        np.median(scaled[:, -8:], axis=1),
        scaled[:, -1],
        *(_smoothed(scaled, share) for share in SMOOTHING),
    ]
    x = np.column_stack(
        [np.ones(len(series)), *(np.log1p(c) for c in columns), np.full(len(series), trend)]
    )
    ahead = np.tile(np.arange(AHEAD), len(series))
    rows = np.repeat(np.arange(len(series)), AHEAD)
    return Table(
        unit=series[rows],
        group=np.zeros(len(rows), dtype=np.int64),
        features=np.column_stack([x[rows], ahead / AHEAD]),
        rule=columns[1][rows],
        keys=ahead.astype(np.int64),
    )


def _smoothed(series: Floats, share: float) -> Floats:
    level = series[:, 0]
    for week in series.T[1:]:
        level = (1 - share) * level + share * week
    return level


def outcome(table: Table, history: History, time: float) -> Floats:
    """Returns what was sold in each week from `time` on, in the units of the table."""
    scale = usual_change(weekly_units(history.before(time), WEEKS))
    weeks = round((history.end - time) / 7)
    sold = weekly_units(history, weeks)
    return sold[table.unit, table.keys] / scale[table.unit]


def change_of_rows(table: Table, history: History) -> Floats:
    """Returns the usual weekly change of each row's series, in pieces."""
    return usual_change(weekly_units(history, WEEKS))[table.unit]


USES = (
    Use(
        name="demand",
        purpose="how much of a category will be bought in each of the next 4 weeks",
        unit="item",
        label=Label("number", "pieces over the usual weekly change", 28.0, 28.0, 1.0),
        columns=COLUMNS,
        rule="mean of 8 weeks",
        metrics={"mase": mean_absolute_error},
        read=read,
        outcome=outcome,
        key="weeks ahead",
        one_is=change_of_rows,
        occasions=weekly(7),
    ),
)
