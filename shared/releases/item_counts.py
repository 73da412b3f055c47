"""Item counts of one shop: what each user adds to how often items were taken, bounded."""

from __future__ import annotations

import numpy as np

from shared.interactions.events import Events
from shared.privacy.noise import Integers
from shared.releases.pair_sums import user_shares


def grid_user_counts(events: Events, n_items: int) -> Integers:
    """Sums the users' items in steps of 1 / `GRID`: `(n_items,)`.

    A user of `m` items gives `isqrt(GRID^2 // m)` to each, so that its norm is at most `GRID`, in
    whole numbers, exactly.

    Args:
        events: Events of one shop, sorted by user.
        n_items: Items of the catalogue.

    Guarantee:
        Adding or removing a user changes the sum by an L2 norm of at most `COUNTS_MAX_NORM * GRID`.
    """
    # Distinct items count, not events: else one user's norm would grow with its purchases, and the
    # sensitivity with it.
    cells = np.unique(events.user.astype(np.int64) * n_items + events.item)
    user, item = cells // n_items, cells % n_items
    counts = np.zeros(n_items, dtype=np.int64)
    if len(user):
        np.add.at(counts, item, user_shares(np.bincount(user))[user])
    return counts
