"""A small shop with baskets, prices and campaigns."""

from __future__ import annotations

import numpy as np

from shared.interactions.events import Events
from shared.uses.history import Campaigns, History, Promotions

FIRST, END = 1_000.0, 1_280.0
"""40 weeks."""
N_USERS, N_ITEMS = 40, 30
KINDS = 3


def small_history(seed: int = 0, *, n_users: int = N_USERS) -> History:
    """Users come at rates of their own, and some stop for good."""
    rng = np.random.default_rng(seed)
    user, time, session = [], [], []
    for u in range(n_users):
        rate = rng.uniform(2, 20)
        stop = END if u % 3 else rng.uniform(FIRST + 150, END)
        moment, visit = FIRST + rng.exponential(rate), 0
        while moment < stop:
            for _ in range(rng.integers(1, 5)):
                user.append(u)
                time.append(moment)
                session.append(u * 1_000 + visit)
            moment += rng.exponential(rate) + 0.01
            visit += 1
    item = (N_ITEMS * rng.random(len(user)) ** 2).astype(int)
    price = (1 + item % 7) * rng.choice([1.0, 0.8], len(user))
    events = Events.build(
        user=user,
        item=item,
        time=time,
        quantity=rng.integers(1, 4, len(user)),
        price=price,
        session=session,
    )
    return History(
        events=events,
        n_users=n_users,
        category=np.arange(N_ITEMS) % KINDS,
        category_names=[f"kind {k}" for k in range(KINDS)],
        end=END,
        campaigns=_campaigns(rng, n_users),
        promotions=_promotions(rng),
    )


def _promotions(rng: np.random.Generator) -> Promotions:
    weeks = np.arange(FIRST, END, 7)
    return Promotions(
        item=rng.integers(0, N_ITEMS, len(weeks)),
        time=weeks,
        display=rng.integers(0, 9, len(weeks)).astype(float),
        mailer=rng.integers(0, 9, len(weeks)).astype(float),
    )


def _campaigns(rng: np.random.Generator, n_users: int) -> Campaigns:
    times = np.repeat(np.arange(FIRST + 30, END - 5, 30), n_users)
    n = len(times)
    answered = np.where(rng.random(n) < 0.3, times + rng.uniform(0, 40, n), np.inf)
    return Campaigns(
        user=np.tile(np.arange(n_users), n // n_users),
        campaign=np.repeat(np.arange(n // n_users), n_users),
        kind=rng.integers(0, 3, n),
        time=times,
        answered=answered,
    )
