"""Who is about to leave: users that came in the last 12 weeks and may not come in the next 4 or 8.

The rule is the number of visits in 12 weeks: who came rarely is likelier to stay away.
"""

from __future__ import annotations

import numpy as np

from shared.uses.activity import COLUMNS, activity, days_since_visit, visits_within
from shared.uses.history import Floats, History
from shared.uses.interface import Label, Table, Use, weekly
from shared.uses.metrics import auc

ACTIVE = 84.0
"""Days: who did not come within them has left already, and nobody asks."""


def read(history: History) -> Table:
    """Returns the users that are still active."""
    active = np.flatnonzero(days_since_visit(history) < ACTIVE)
    return Table(
        unit=active,
        group=np.zeros(len(active), dtype=np.int64),
        features=activity(history)[active],
        rule=-visits_within(history, ACTIVE)[active],
        keys=active,
    )


def stayed_away(table: Table, history: History, time: float) -> Floats:
    """Returns 1 for users without an event from `time` on."""
    came = np.zeros(history.n_users, dtype=bool)
    came[history.events.user[history.events.time >= time]] = True
    return (~came[table.unit]).astype(np.float64)


def _churn(weeks: int, centre: float) -> Use:
    return Use(
        name=f"churn-{weeks}w",
        purpose=f"who is likely not to come in the next {weeks} weeks",
        unit="user",
        label=Label("binary", f"no visit in {weeks} weeks", 7.0 * weeks, 7.0 * weeks, centre),
        columns=COLUMNS,
        rule="fewest visits in 12 weeks first",
        metrics={"auc": auc},
        read=read,
        outcome=stayed_away,
        occasions=weekly(),
        release="moments" if weeks == 4 else "none",
        borrows="" if weeks == 4 else "churn-4w",
    )


USES = (_churn(4, 0.15), _churn(8, 0.1))
