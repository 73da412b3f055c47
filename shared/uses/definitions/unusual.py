"""Whether a basket looks like the user's own: a surprise with its reasons, never called fraud.

Labels are made: each basket of the last 4 weeks is asked about once under its own user's name and
once under another user's, drawn at random. What is read of the user ends before those weeks. The
rule is how far the spend is from the user's usual.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared.interactions.events import Events
from shared.uses.history import Codes, Floats, History, session_of, spend_of
from shared.uses.interface import Label, Table, Use, weekly
from shared.uses.metrics import auc

SPAN = 28.0
OWN_WEIGHT = 0.5
"""Share of a user's own past in what is expected of it; the rest is the shop's."""
COLUMNS = (
    "constant",
    "surprise by items",
    "surprise by categories",
    "share of items never bought",
    "share of categories never bought",
    "spend away from the usual",
    "size away from the usual",
    "user's past purchases",
)


@dataclass(frozen=True, eq=False)
class Baskets:
    """Baskets as lines: which basket each event is in, and its user, spend and size."""

    events: Events
    basket: Codes
    user: Codes
    spend: Floats
    size: Floats


def baskets(events: Events) -> Baskets:
    """Groups events by session; an event without one is a basket of its own."""
    _, first, basket = np.unique(session_of(events), return_index=True, return_inverse=True)
    spend = spend_of(events)
    n = len(first)
    return Baskets(
        events,
        basket.astype(np.int64),
        events.user[first].astype(np.int64),
        np.bincount(basket, spend, minlength=n).astype(np.float64),
        np.bincount(basket, minlength=n).astype(np.float64),
    )


def read(history: History) -> Table:
    """Returns the baskets of the last 4 weeks under two names each."""
    past = history.before(history.end - SPAN)
    now = baskets(history.events.select(history.events.time >= history.end - SPAN))
    known = np.bincount(past.events.user, minlength=history.n_users) > 0
    people = np.flatnonzero(known)
    rng = np.random.default_rng(int(history.end))
    n = len(now.user)
    others = people[rng.integers(0, max(len(people), 1), n)] if len(people) else now.user
    name = np.concatenate([now.user, others])
    basket = np.tile(np.arange(n), 2)
    swapped = np.repeat([0.0, 1.0], n)
    is_usable = known[name] & ~((swapped == 1) & (name == now.user[basket]))
    features = _features(now, past, name, n)
    return Table(
        unit=now.user[basket][is_usable],
        group=np.zeros(int(is_usable.sum()), dtype=np.int64),
        features=features[is_usable],
        rule=features[is_usable, 5],
        keys=basket[is_usable],
        known=swapped[is_usable],
    )


def _features(now: Baskets, past: History, name: Codes, n: int) -> Floats:
    """Returns the features of baskets under names, first all of the first `n`, then again."""
    lines, items = now.basket, now.events.item.astype(np.int64)
    before = baskets(past.events)
    columns = [np.ones(2 * n)]
    surprise, unknown = [], []
    for code, past_code, wide in (
        (items, past.events.item.astype(np.int64), len(past.category)),
        (past.category[items], past.category[past.events.item], len(past.category_names)),
    ):
        own = _Counts(past.events.user.astype(np.int64), past_code, past.n_users, wide)
        for half in (name[:n], name[n:]):
            odds, never = own.compare(half[lines], code)
            size = np.maximum(np.bincount(lines, minlength=n), 1)
            surprise.append(-np.bincount(lines, odds, minlength=n) / size)
            unknown.append(np.bincount(lines, never, minlength=n) / size)
    columns += [np.concatenate(surprise[:2]) / 3, np.concatenate(surprise[2:]) / 2]
    columns += [np.concatenate(unknown[:2]), np.concatenate(unknown[2:])]
    for value, usual in ((now.spend, before.spend), (now.size, before.size)):
        columns.append(_away(np.tile(np.log1p(value), 2), name, before.user, np.log1p(usual)))
    past_size = np.bincount(past.events.user, minlength=past.n_users)
    columns.append(np.log1p(past_size[name]) / 8)
    return np.stack(columns, axis=1).astype(np.float64)


class _Counts:
    """How often users and the shop took codes."""

    def __init__(self, user: Codes, code: Codes, n_users: int, wide: int) -> None:
        self._wide = wide
        self._keys, self._times = np.unique(user * wide + code, return_counts=True)
        self._of_user = np.maximum(np.bincount(user, minlength=n_users), 1)
        self._shop = (np.bincount(code, minlength=wide) + 0.1) / (len(code) + 0.1 * wide)

    def compare(self, user: Codes, code: Codes) -> tuple[Floats, Floats]:
        """Returns the log of expected over the shop's share, and 1 where never taken."""
        key = user * self._wide + code
        place = np.minimum(np.searchsorted(self._keys, key), max(len(self._keys) - 1, 0))
        hit = self._keys[place] == key if len(self._keys) else np.zeros(len(key), dtype=bool)
        times = np.where(hit, self._times[place] if len(self._keys) else 0, 0)
        own = times / self._of_user[user]
        shop = self._shop[code]
        odds: Floats = np.log(OWN_WEIGHT * own / shop + 1 - OWN_WEIGHT)
        return odds, (~hit).astype(np.float64)


def _away(value: Floats, name: Codes, user: Codes, usual: Floats) -> Floats:
    """Returns distances from each user's usual in its own deviations, at most 3, over 3."""
    n = int(max(name.max(initial=0), user.max(initial=0))) + 1
    count = np.bincount(user, minlength=n) + 2
    everybody = float(usual.mean()) if len(usual) else 0.0
    mean = (np.bincount(user, usual, minlength=n) + 2 * everybody) / count
    square = (np.bincount(user, (usual - mean[user]) ** 2, minlength=n) + 2) / count
    away: Floats = np.minimum(np.abs(value - mean[name]) / np.sqrt(square[name]), 3) / 3
    return away


USES = (
    Use(
        name="unusual",
        purpose="which baskets are surprising for their user, and by what",
        unit="user",
        label=Label("binary", "another user's basket under this name", 0.0, SPAN, 0.5),
        columns=COLUMNS,
        rule="spend furthest from the user's usual first",
        metrics={"auc": auc},
        read=read,
        key="basket",
        occasions=weekly(56),
    ),
)
