"""Context and target pairs drawn from each user's own history: one user's record in a DP step.

A user with visits (sessions) has its own baskets to complete: half of one is the context, the other
half the targets. A user without has a sequence to continue: the events before a cut are the
context, those right after it the targets. Either way a user's pairs hold nothing of others, which
clipping relies on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.interactions.events import Events
from shared.model.profile_space import profile_weights

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Examples:
    """Pairs of all users of a shop; users without any pair have empty rows.

    Attributes:
        context: Item codes, -1 where none, `(n_users, n_pairs, max_context)`.
        weight: Weight of each context item in the profile, 0 where none, same shape.
        target: Item codes, -1 where none, `(n_users, n_pairs, max_targets)`.
    """

    context: npt.NDArray[np.int32]
    weight: npt.NDArray[np.float32]
    target: npt.NDArray[np.int32]


def draw_examples(
    events: Events,
    n_users: int,
    *,
    n_pairs: int,
    max_context: int,
    max_targets: int,
    half_life: float,
    rng: np.random.Generator,
) -> Examples:
    """Draws `n_pairs` pairs from every user's own events.

    Args:
        events: Of the shop, what the adapter learns from.
        n_users: Users of the shop.
        n_pairs: Pairs of each user.
        max_context: Items in a context at most.
        max_targets: Items to predict at most.
        half_life: Recency half-life of the context, in the unit of `events.time`.
        rng: Draws visits, halves and cuts.

    Returns:
        The pairs; which kind a user gets depends on its own events alone.
    """
    visits = _visit_rows(events, n_users, n_pairs, max_context, max_targets, rng)
    sequences = _sequence_rows(events, n_users, n_pairs, max_context, max_targets, rng)
    by_visit = (visits[1] >= 0).any(axis=(1, 2), keepdims=True)
    context = np.where(by_visit, visits[0], sequences[0])
    target = np.where(by_visit, visits[1], sequences[1])
    return Examples(
        context=_items(events, context),
        weight=_weights(events, context, target, half_life),
        target=_items(events, target),
    )


def _visit_rows(
    events: Events,
    n_users: int,
    n_pairs: int,
    max_context: int,
    max_targets: int,
    rng: np.random.Generator,
) -> tuple[Rows, Rows]:
    """Halves visits of at least two items, drawn with replacement; rows of `events`, -1 where none.

    A visit's items stand in random order as a ring; a pair starts at a random place of the ring.
    """
    ring = _visit_ring(events, rng)
    if not len(ring):
        return _empty_rows(n_users, n_pairs, max_context), _empty_rows(
            n_users, n_pairs, max_targets
        )
    user, session = events.user[ring], events.session[ring]
    start = np.flatnonzero(np.append(True, (user[1:] != user[:-1]) | (session[1:] != session[:-1])))
    size = np.diff(np.append(start, len(ring)))
    start, size = start[size >= 2], size[size >= 2]
    visits = np.bincount(user[start], minlength=n_users)
    drawn = (rng.random((n_users, n_pairs)) * visits[:, None]).astype(np.int64)
    drawn += (np.cumsum(visits) - visits)[:, None]
    drawn[visits == 0] = 0
    if not len(start):
        return _empty_rows(n_users, n_pairs, max_context), _empty_rows(
            n_users, n_pairs, max_targets
        )
    first, n = start[drawn][..., None], size[drawn][..., None]
    turn = (rng.random(n.shape) * n).astype(np.int64)
    n_context = np.minimum(n // 2, max_context)
    n_targets = np.where(visits[:, None, None] > 0, np.minimum(n - n_context, max_targets), 0)
    n_context = np.where(visits[:, None, None] > 0, n_context, 0)
    steps, ahead = np.arange(max_context), np.arange(max_targets)
    context = np.where(steps < n_context, ring[first + (turn + steps) % n], -1)
    target = np.where(ahead < n_targets, ring[first + (turn + n_context + ahead) % n], -1)
    return context, target


def _visit_ring(events: Events, rng: np.random.Generator) -> Rows:
    """Returns rows of events in visits, one an item and visit, by user and visit, else shuffled."""
    rows = np.flatnonzero(events.session >= 0)
    rows = rows[rng.permutation(len(rows))]
    rows = rows[np.lexsort((events.item[rows], events.session[rows], events.user[rows]))]
    keys = np.stack([events.user[rows], events.session[rows], events.item[rows]])
    if len(rows):
        rows = rows[np.append(True, (keys[:, 1:] != keys[:, :-1]).any(axis=0))]
    rows = rows[rng.permutation(len(rows))]
    return rows[np.lexsort((events.session[rows], events.user[rows]))]


def _sequence_rows(
    events: Events,
    n_users: int,
    n_pairs: int,
    max_context: int,
    max_targets: int,
    rng: np.random.Generator,
) -> tuple[Rows, Rows]:
    """Cuts each user's sequence at random places; rows of `events`, -1 where none."""
    n = np.bincount(events.user, minlength=n_users)[:, None, None]
    first = np.cumsum(n)[:, None, None] - n
    cut = 1 + (rng.random((n_users, n_pairs, 1)) * np.maximum(n - 1, 0)).astype(np.int64)
    before, ahead = cut - 1 - np.arange(max_context), cut + np.arange(max_targets)
    context = np.where((before >= 0) & (n >= 2), first + before, -1)
    target = np.where((ahead < n) & (n >= 2), first + ahead, -1)
    return context, target


def _empty_rows(*shape: int) -> Rows:
    return np.full(shape, -1, dtype=np.int64)


def _items(events: Events, rows: Rows) -> npt.NDArray[np.int32]:
    """Returns item codes under rows, -1 where none."""
    if not len(events):
        return rows.astype(np.int32)
    return np.where(rows >= 0, events.item[rows], -1).astype(np.int32)


def _weights(
    events: Events, context: Rows, target: Rows, half_life: float
) -> npt.NDArray[np.float32]:
    """Weighs context rows as a profile does at the time of the first target; 0 where none."""
    weights = np.zeros(context.shape, dtype=np.float32)
    filled = context >= 0
    if filled.any():
        now = np.broadcast_to(events.time[target[..., :1]], context.shape)[filled]
        weights[filled] = profile_weights(
            events.select(context[filled]), now=now, half_life=half_life
        )
    return weights
