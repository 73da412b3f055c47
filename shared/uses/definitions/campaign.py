"""Who answers a campaign within 4 weeks; the rule is the number of campaigns answered before."""

from __future__ import annotations

import numpy as np

from shared.uses.activity import COLUMNS, activity
from shared.uses.history import Campaigns, Floats, History
from shared.uses.interface import Label, Table, Use
from shared.uses.metrics import auc, lift_of_best_tenth

HORIZON = 28.0
OWN_COLUMNS = (
    "campaigns received",
    "campaigns answered",
    "share answered",
    "answered the last one",
    "first kind",
    "second kind",
)
"""Beside the user's activity."""


def read(history: History) -> Table:
    """Returns those to whom something is sent at the end of the history."""
    sent = history.campaigns
    now = np.flatnonzero(sent.time == history.end)
    user = sent.user[now]
    received, answered, last = _past(sent, history)
    own = [
        np.log1p(received) / 2,
        np.log1p(answered),
        2 * answered / (received + 1),
        last,
    ]
    columns = [activity(history)[user], *(values[user][:, None] for values in own)]
    kinds = np.stack([sent.kind[now] == 0, sent.kind[now] == 1], axis=1)
    return Table(
        unit=user,
        group=np.zeros(len(now), dtype=np.int64),
        features=np.column_stack([*columns, kinds]).astype(np.float64),
        rule=answered[user],
        keys=sent.campaign[now],
    )


def _past(sent: Campaigns, history: History) -> tuple[Floats, Floats, Floats]:
    """Returns each user's campaigns received, answered, and whether the last was answered."""
    before = sent.time < history.end
    n, user = history.n_users, sent.user[before]
    done = np.isfinite(sent.answered[before]).astype(np.float64)
    received = np.bincount(user, minlength=n).astype(np.float64)
    last = np.zeros(n)
    order = np.argsort(sent.time[before], kind="stable")
    last[user[order]] = done[order]
    return received, np.bincount(user, done, minlength=n).astype(np.float64), last


def outcome(table: Table, history: History, time: float) -> Floats:
    """Returns 1 for who answered in time."""
    sent = history.campaigns
    rows = np.flatnonzero((sent.time == time) & (sent.answered < time + HORIZON))
    width = int(max(sent.campaign.max(initial=0), table.keys.max(initial=0))) + 1
    answered = sent.user[rows] * width + sent.campaign[rows]
    return np.isin(table.unit * width + table.keys, answered).astype(np.float64)


def occasions(history: History, first: float, last: float) -> list[float]:
    """Returns the days on which campaigns were sent."""
    times = np.unique(history.campaigns.time)
    return [float(time) for time in times[(times >= first) & (times <= last)]]


USES = (
    Use(
        name="campaign",
        purpose="who is likely to answer a campaign, for choosing whom to write to",
        unit="user",
        label=Label("binary", "a coupon redeemed within 4 weeks", HORIZON, HORIZON, 0.05),
        columns=(*COLUMNS, *OWN_COLUMNS),
        rule="most campaigns answered before first",
        metrics={"auc": auc, "lift": lift_of_best_tenth},
        read=read,
        outcome=outcome,
        occasions=occasions,
        occasions_of_its_own=True,
        release="moments",
        bound=1.0,
        needs=("campaigns",),
    ),
)
