"""Which categories a user will buy from in the next 4 weeks, among the shop's 150 most bought.

The rule is how often the user bought from the category in 12 weeks, ties by how many users do. A
few users of its own are enough for a shop, so nothing is released for it.
"""

from __future__ import annotations

import math

import numpy as np

from shared.uses.activity import days_since_visit, visits_within
from shared.uses.history import Codes, Floats, History
from shared.uses.interface import Label, Table, Use, weekly
from shared.uses.metrics import auc_in_user

N_CATEGORIES = 150
ACTIVE = 84.0
COLUMNS = (
    "constant",
    "weeks bought in of 4",
    "weeks bought in of 12",
    "weeks bought in of 26",
    "weeks since last bought",
    "absence against own rhythm",
    "users who buy it in 4 weeks",
    "users who buy it in 26 weeks",
    "user's visits in 4 weeks",
    "user's visits in 12 weeks",
    "visits times users who buy it",
    "times bought times users who buy it",
)


def read(history: History) -> Table:
    """Returns every active user with each of the shop's most bought categories."""
    weeks = weeks_bought(history, 26)
    reach = weeks.any(axis=2).mean(axis=0)
    chosen = np.sort(np.argsort(-reach, kind="stable")[:N_CATEGORIES])
    users = np.flatnonzero(days_since_visit(history) < ACTIVE)
    weeks = weeks[np.ix_(users, chosen)]
    n, m = len(users), len(chosen)
    columns = _columns(weeks, history, users)
    rule = weeks[:, :, :12].sum(axis=2) + weeks.any(axis=2).sum(axis=0) / (2 * max(n, 1))
    return Table(
        unit=np.repeat(users, m),
        group=np.repeat(users, m),
        features=np.stack([c.ravel() for c in columns], axis=1),
        rule=rule.ravel(),
        keys=np.tile(chosen, n),
    )


def _columns(weeks: np.ndarray, history: History, users: Codes) -> list[Floats]:
    n, m, _ = weeks.shape
    total = {k: weeks[:, :, :k].sum(axis=2).astype(np.float64) for k in (4, 12, 26)}
    last = np.where(weeks.any(axis=2), weeks.argmax(axis=2), 26).astype(np.float64)
    share = {k: (total[k] > 0).sum(axis=0) / max(n, 1) for k in (4, 26)}
    reach = {k: np.broadcast_to(values, (n, m)) for k, values in share.items()}
    visits = {d: np.log1p(visits_within(history, d)[users]) / math.log1p(d / 2) for d in (28, 84)}
    wide = {d: np.broadcast_to(v[:, None], (n, m)) for d, v in visits.items()}
    often = np.log1p(total[26]) / 3
    return [
        np.ones((n, m)),
        np.sqrt(total[4]) / 2,
        np.log1p(total[12]) / 2.5,
        often,
        np.log1p(last) / 3,
        np.clip(np.log((last + 1) * (total[26] + 1) / 26), -3, 3) / 3,
        reach[4],
        reach[26],
        wide[28],
        wide[84],
        wide[28] * reach[26],
        often * reach[26],
    ]


def weeks_bought(history: History, most: int) -> np.ndarray:
    """Marks the weeks, 0 the last, in which each user bought from each category.

    Returns:
        Bool, `(n_users, n_categories, most)`.
    """
    events = history.events
    week = ((history.end - events.time) // 7).astype(np.int64)
    recent = week < most
    marks = np.zeros((history.n_users, len(history.category_names), most), dtype=bool)
    marks[events.user[recent], history.category[events.item[recent]], week[recent]] = True
    return marks


def outcome(table: Table, history: History, time: float) -> Floats:
    """Returns 1 where the user bought from the category from `time` on."""
    late = history.events.time >= time
    bought = np.zeros((history.n_users, len(history.category_names)))
    bought[history.events.user[late], history.category[history.events.item[late]]] = 1
    return bought[table.unit, table.keys]


USES = (
    Use(
        name="category-purchase",
        purpose="which categories a user will buy from in the next 4 weeks",
        unit="user-item",
        label=Label("binary", "bought within 4 weeks", 28.0, 28.0, 0.3),
        columns=COLUMNS,
        rule="most weeks of 12 with a purchase first",
        metrics={"auc": auc_in_user},
        read=read,
        outcome=outcome,
        key="category",
        occasions=weekly(56),
    ),
)
