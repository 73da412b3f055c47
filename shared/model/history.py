"""How much each event of a history counts in the user's profile vector."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shared.interactions.events import EVENT_TYPES, Events

TYPE_WEIGHTS = {
    "purchase": 1.0,
    "review": 1.0,
    "rating": 1.0,
    "cart": 0.7,
    "search": 0.5,
    "click": 0.3,
    "view": 0.2,
}
"""Public weights of the event types, fixed in advance and never fitted."""

_TYPE_WEIGHTS = np.array([TYPE_WEIGHTS[name] for name in EVENT_TYPES], dtype=np.float32)


def profile_weights(
    events: Events, *, now: float | npt.NDArray[np.float64], half_life: float
) -> npt.NDArray[np.float32]:
    """Weighs events by type, recency and quantity.

    Args:
        events: Events of any users, `(n,)`.
        now: Time from which recency is counted, one for all or `(n,)`, in the unit of
            `events.time`.
        half_life: Time after which an event counts half, same unit.

    Returns:
        Non-negative weights `(n,)`: `weight * type * 2^(-age / half_life) * log2(1 + quantity)`.
    """
    age = np.maximum(np.asarray(now, dtype=np.float64) - events.time, 0.0)
    recency = np.exp2(-age / half_life).astype(np.float32)
    amount = np.log2(1.0 + np.maximum(events.quantity, 0.0)).astype(np.float32)
    kind = _TYPE_WEIGHTS[events.event_type]
    weights: npt.NDArray[np.float32] = events.weight * kind * recency * amount
    return weights
