"""How active a user was up to a time, in numbers on fixed public scales.

No statistic of the data enters a scale: what is released of these numbers is bounded without
looking, and the same vector means the same in every shop.
"""

from __future__ import annotations

import math

import numpy as np

from shared.uses.history import Codes, Floats, History, session_of, spend_of

WINDOWS = (28.0, 84.0, 182.0)
"""Days over which visits, weeks and spend are counted."""
ORIGIN = 0.4
"""Taken off every feature but the constant: a public guess of their mean. Moments of features that
are near 0 say more of what tells users apart and less of how many there are."""
LONGEST = 182.0
"""Days after which a last visit counts as long ago as any."""

COLUMNS = (
    "constant",
    "visits in 2 weeks",
    "visits in 4 weeks",
    "visits in 12 weeks",
    "visits in 26 weeks",
    "spend in 4 weeks",
    "spend in 12 weeks",
    "spend in 26 weeks",
    "days since last visit",
    "active weeks of 4",
    "active weeks of 12",
    "active weeks of 26",
    "absence against own rhythm",
    "different items in 12 weeks",
    "different categories in 12 weeks",
    "spend a visit",
    "recent against usual visits",
    "longest absence in 12 weeks",
)
"""Names of the features, in order."""


def activity(history: History) -> Floats:
    """Returns all users' features at the end of the history, `(n_users, 18)`, about -0.4 to 0.6."""
    n, events = history.n_users, history.events
    age = history.end - events.time
    spend = spend_of(events)
    user, visit_age = visits(history)
    counts = {days: _count(user[visit_age < days], n) for days in (14.0, *WINDOWS)}
    columns = [np.ones(n)]
    columns += [np.log1p(c) / math.log1p(days / 2) for days, c in counts.items()]
    spent = {d: np.bincount(events.user[age < d], spend[age < d], minlength=n) for d in WINDOWS}
    columns += [np.log1p(7 * spent[days] / days) / 4 for days in WINDOWS]
    last = days_since_visit(history)
    columns.append(np.log1p(last) / math.log1p(LONGEST))
    weeks = (visit_age // 7).astype(np.int64)
    for days in WINDOWS:
        columns.append(_distinct(user, weeks, visit_age < days, n) * 7 / days)
    rhythm = 84 / (counts[84.0] + 1)
    columns.append(np.clip(np.log((last + 1) / (rhythm + 1)), -3, 3) / 3)
    columns.append(np.log1p(_distinct(events.user, events.item, age < 84, n)) / 6)
    category = history.category[events.item]
    columns.append(np.log1p(_distinct(events.user, category, age < 84, n)) / 5)
    columns.append(np.log1p(spent[84.0] / (counts[84.0] + 1)) / 4)
    columns.append((np.log1p(3 * counts[28.0]) - np.log1p(counts[84.0])) / 3)
    columns.append(_longest_absence(user, weeks, n, 12) / 12)
    features = np.stack(columns, axis=1)
    features[:, 1:] -= ORIGIN
    return features


def visits(history: History) -> tuple[Codes, Floats]:
    """Returns user and age in days of each visit; an event without a session is its own."""
    events = history.events
    _, first = np.unique(session_of(events), return_index=True)
    return events.user[first].astype(np.int64), history.end - events.time[first]


def days_since_visit(history: History) -> Floats:
    """Returns days since each user's last event, at most `LONGEST`, `(n_users,)`."""
    last = np.full(history.n_users, LONGEST)
    np.minimum.at(last, history.events.user, history.end - history.events.time)
    return last


def visits_within(history: History, days: float) -> Floats:
    """Counts each user's visits of the last days, `(n_users,)`."""
    user, age = visits(history)
    return _count(user[age < days], history.n_users)


def _count(user: Codes, n: int) -> Floats:
    return np.bincount(user, minlength=n).astype(np.float64)


def _distinct(user: np.ndarray, value: np.ndarray, rows: np.ndarray, n: int) -> Floats:
    """Counts different values of each user among some rows."""
    wide = int(value.max(initial=0)) + 1
    cells = np.unique(user[rows].astype(np.int64) * wide + value[rows])
    return _count(cells // wide, n)


def _longest_absence(user: Codes, weeks: Codes, n: int, most: int) -> Floats:
    present = np.zeros((n, most), dtype=bool)
    recent = weeks < most
    present[user[recent], weeks[recent]] = True
    run, longest = np.zeros(n), np.zeros(n)
    for week in range(most):
        run = np.where(present[:, week], 0, run + 1)
        longest = np.maximum(longest, run)
    return longest
