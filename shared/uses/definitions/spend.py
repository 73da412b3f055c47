"""What a user will spend in the next 4 weeks; the rule is a third of the last 12 weeks' spend."""

from __future__ import annotations

import numpy as np

from shared.uses.activity import COLUMNS, activity
from shared.uses.history import Floats, History, spend_of
from shared.uses.interface import Label, Table, Use, weekly
from shared.uses.metrics import rmsle


def spend_since(history: History, time: float) -> Floats:
    """Sums each user's spend from a time on, `(n_users,)`, in the currency of the data."""
    events = history.events
    late = events.time >= time
    spend = spend_of(events)
    total = np.bincount(events.user[late], spend[late], minlength=history.n_users)
    return total.astype(np.float64)


def read(history: History) -> Table:
    """Returns all users."""
    users = np.arange(history.n_users)
    return Table(
        unit=users,
        group=np.zeros(len(users), dtype=np.int64),
        features=activity(history),
        rule=spend_since(history, history.end - 84) / 3,
        keys=users,
    )


def outcome(table: Table, history: History, time: float) -> Floats:
    """Returns what each user spent from `time` on."""
    return spend_since(history, time)[table.unit]


USES = (
    Use(
        name="spend-4w",
        purpose="what a user will spend in the next 4 weeks",
        unit="user",
        label=Label("number", "spend in 4 weeks", 28.0, 28.0, 4.0),
        columns=COLUMNS,
        rule="a third of the spend of 12 weeks",
        metrics={"rmsle": rmsle},
        read=read,
        outcome=outcome,
        occasions=weekly(),
        release="moments",
        bound=3.0,
        ridge=0.1,
        worth=10.0,
        needs=("prices",),
    ),
)
