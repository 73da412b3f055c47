"""Small synthetic shops with taste groups, for the tests of recommenders and evaluation."""

from __future__ import annotations

import numpy as np

from client.recommenders.queries import History, candidates_of
from shared.interactions.events import Events

N_ITEMS = 60
GROUPS = 3


def item_vectors(seed: int = 0, d: int = 8) -> np.ndarray:
    """Returns unit vectors `(N_ITEMS, d)` that cluster by the item's group, `item % GROUPS`."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(GROUPS, d))
    vectors = centres[np.arange(N_ITEMS) % GROUPS] + 0.7 * rng.normal(size=(N_ITEMS, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def shop_events(seed: int, n_users: int = 40, visits: int = 12) -> Events:
    """Users visit about weekly (days 0 to 100) and take 8 items, mostly of their own group."""
    rng = np.random.default_rng(seed)
    columns: dict[str, list[float]] = {"user": [], "item": [], "time": [], "session": []}
    popularity = 1.0 / (1.0 + np.arange(N_ITEMS) // GROUPS)
    for user in range(n_users):
        taste = popularity * np.where(np.arange(N_ITEMS) % GROUPS == user % GROUPS, 6.0, 1.0)
        for visit in range(visits):
            day = 8.0 * visit + rng.random()
            for item in rng.choice(N_ITEMS, 8, replace=False, p=taste / taste.sum()):
                columns["user"].append(user)
                columns["item"].append(item)
                columns["time"].append(day)
                columns["session"].append(user * 1000 + visit)
    return Events.build(**columns)


def history_before(events: Events, cut: float) -> History:
    """Returns what is known of all users before a day."""
    known = events.select(events.time < cut)
    n_users = int(events.user.max()) + 1
    candidates = candidates_of(known, np.ones(N_ITEMS, dtype=np.bool_))
    return History(known, candidates, np.full(n_users, cut))
