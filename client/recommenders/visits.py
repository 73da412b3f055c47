"""What one event counts: by its type, once a visit, and the less the older it is.

One rule for all that learns from behaviour, in the evaluation as in the service: ages count from
the user's own latest event. So nothing changes while nobody does anything, a new event changes one
user's row alone, and the moment at which somebody asks changes no ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.interactions.events import EVENT_TYPES
from shared.model.profile_space import TYPE_WEIGHTS
from shared.settings.run_settings import TARGET_TYPES

Doubles = npt.NDArray[np.float64]
TYPE_WEIGHT = np.array([TYPE_WEIGHTS[name] for name in EVENT_TYPES], dtype=np.float32)
"""Weight of each event type."""
TAKEN_TYPES = np.isin(EVENT_TYPES, TARGET_TYPES)
"""Mask of `TARGET_TYPES` over all event types."""


def taken_types(
    names: Sequence[str], present: npt.NDArray[np.uint8] | None = None
) -> npt.NDArray[np.bool_]:
    """Returns the mask over `EVENT_TYPES` of what says that a user has an item.

    Args:
        names: The types that are asked for.
        present: Types of a data set's events; where none of them is asked for, all count: a shop
            that logs views alone is measured by views. None for any.
    """
    mask: npt.NDArray[np.bool_] = np.isin(EVENT_TYPES, list(names))
    if present is None or not len(present) or mask[present].any():
        return mask
    everything = np.zeros_like(mask)
    everything[present] = True
    return everything


def type_names(mask: npt.NDArray[np.bool_]) -> list[str]:
    """Returns the names of the types in a mask over `EVENT_TYPES`."""
    return [name for name, marked in zip(EVENT_TYPES, mask, strict=True) if marked]


def visit_weights(
    user: npt.NDArray[np.int32],
    item: npt.NDArray[np.int32],
    session: npt.NDArray[np.int64],
    kind: npt.NDArray[np.uint8],
) -> npt.NDArray[np.float32]:
    """Weighs events by type, of an item's events in one visit the strongest alone.

    Args:
        user: Of each event, `(n,)`.
        item: `(n,)`.
        session: -1 for an event that is a visit of its own, `(n,)`.
        kind: Indices into `EVENT_TYPES`, `(n,)`.

    Returns:
        The type's weight for the strongest event, the first of equals, of each user, session and
        item, else 0, `(n,)`.
    """
    # A shop that logs a view, a cart and a purchase of one visit must not count the item thrice.
    weights: npt.NDArray[np.float32] = TYPE_WEIGHT[kind]
    visits = np.flatnonzero(session >= 0)
    keys = visits, -weights[visits], item[visits], session[visits], user[visits]
    order = visits[np.lexsort(keys)]
    if len(order):
        same = (
            (user[order[1:]] == user[order[:-1]])
            & (session[order[1:]] == session[order[:-1]])
            & (item[order[1:]] == item[order[:-1]])
        )
        weights[order[1:][same]] = 0.0
    return weights


def latest_times(user: npt.NDArray[Any], time: Doubles, n_users: int) -> Doubles:
    """Returns the time of each user's latest event, `(n_users,)`, 0 for a user without events."""
    latest = np.full(n_users, -np.inf)
    np.maximum.at(latest, user, time)
    latest[np.isneginf(latest)] = 0.0
    return latest


def by_item(
    item: npt.NDArray[np.int32], weight: npt.NDArray[np.float32], age: Doubles, half_life: float
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Sums one user's visits up by item: `log(1 + sum of weight 2^(-age / half_life))`.

    Args:
        item: Of each event, `(n,)`.
        weight: From `visit_weights`, `(n,)`.
        age: Before the user's latest event, `(n,)`.
        half_life: In the unit of `age`.

    Returns:
        Distinct items, ascending, and what each counts.
    """
    items, place = np.unique(item, return_inverse=True)
    sums = np.bincount(place, weight * np.exp2(-age / half_life), minlength=len(items))
    return items, np.log1p(sums).astype(np.float32)
