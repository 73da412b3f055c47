"""All signals of a shop for one context, as one small matrix over all items.

| Signal | Score of an item |
|---|---|
| `popularity` | log of the number of its users |
| `recency` | log of its visits of late |
| `frequency` | the user's own visits, halved every half-life, on a logarithmic scale |
| `item-knn`, `ease` | what goes with the items of the context |
| `text` | likeness of its text to the context's |
| `global` | likeness to the profile by the federation's adapter |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from client.serving.counts import Counts
from client.serving.histories import UserEvents
from client.serving.neighbours import Neighbours
from client.serving.space import Space

NAMES = ("popularity", "recency", "frequency", "item-knn", "ease", "text", "global")
"""Rows of the matrix."""
LOCAL = NAMES[:-1]
"""Signals that a shop has without the federation."""
HALF_LIFE = {"days": 120.0, "order": 10.0}
"""Of a visit in frequency and co-purchase, by unit of time."""

ALL = np.ones(len(NAMES), dtype=np.bool_)
"""Marks every signal as used."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Context:
    """What a query knows.

    Attributes:
        items: Distinct items of the context, `(m,)`.
        visits: What each counts in co-purchase: log of its decayed visits, `(m,)`.
        text: Mean vector of the context with the text profile's weights, `(d,)`.
        profile: Mean vector of the context with the adapter's weights, `(d,)`.
        own_items: Distinct items of the user's own history, `(o,)`.
        own_visits: What each counts in own frequency, `(o,)`.
    """

    items: npt.NDArray[np.int32]
    visits: Floats
    text: Floats
    profile: Floats
    own_items: npt.NDArray[np.int32]
    own_visits: Floats


@dataclass(frozen=True, eq=False)
class Sources:
    """Everything that scores are computed from; parts are replaced as a whole.

    Attributes:
        counts: Popularity and recency.
        near: Nearest neighbours.
        ease: EASE.
        space: Item vectors and adapter.
        unit: "days" or "order".
    """

    counts: Counts
    near: Neighbours
    ease: Neighbours
    space: Space
    unit: str

    def moment(self, events: UserEvents) -> float:
        """Returns the moment from which ages count: the shop's latest, or the user's next rank."""
        if self.unit == "days":
            return self.counts.now
        return float(events.time[-1]) + 1.0 if len(events) else 0.0

    def context(self, events: UserEvents, own: UserEvents) -> Context:
        """Sums up the events of a context and the user's own history."""
        age = np.maximum(self.moment(events) - events.time, 0.0)
        items, visits = _by_item(events, age, HALF_LIFE[self.unit])
        if own is events:
            own_items, own_visits = items, visits
        else:
            own_age = np.maximum(self.moment(own) - own.time, 0.0)
            own_items, own_visits = _by_item(own, own_age, HALF_LIFE[self.unit])
        space = self.space
        vectors = space.vectors[events.item]
        text = _mean(vectors, events, age, space.text_half_life)
        profile = _mean(vectors, events, age, space.half_life) if space.has_adapter else text
        return Context(items, visits, text, profile, own_items, own_visits)

    def matrix(self, context: Context, used: npt.NDArray[np.bool_] = ALL) -> Floats:
        """Scores all items, `(len(NAMES), n_items)`.

        Args:
            context: Of the query.
            used: Signals that count, `(len(NAMES),)`; the rows of others stay 0 and cost nothing.
        """
        n = len(self.space.vectors)
        signals = np.zeros((len(NAMES), n), dtype=np.float32)
        if used[0]:
            signals[0] = self.counts.popularity
        if used[1]:
            signals[1] = self.counts.recency
        if used[2]:
            signals[2][context.own_items] = context.own_visits
        if used[3]:
            signals[3] = self.near.add_up(context.items, context.visits, n)
        if used[4]:
            signals[4] = self.ease.add_up(context.items, context.visits, n)
        if used[5]:
            np.matmul(self.space.vectors, self.space.text_profile(context.text), out=signals[5])
        if used[6]:
            profile = self.space.global_profile(context.profile)
            np.matmul(self.space.vectors, profile, out=signals[6])
        return signals


def _by_item(
    events: UserEvents, age: npt.NDArray[np.float64], half_life: float
) -> tuple[npt.NDArray[np.int32], Floats]:
    items, place = np.unique(events.item, return_inverse=True)
    sums = np.bincount(place, events.visit * np.exp2(-age / half_life), minlength=len(items))
    return items, np.log1p(sums).astype(np.float32)


def _mean(
    vectors: Floats, events: UserEvents, age: npt.NDArray[np.float64], half_life: float
) -> Floats:
    """Weighs the vectors by type, recency and quantity; only the direction matters later."""
    if not len(events):
        return np.zeros(vectors.shape[1], dtype=np.float32)
    # Relative to the latest event, so that a long silence does not round all weights to 0.
    weights = events.amount * np.exp2(-(age - age.min()) / half_life).astype(np.float32)
    mean: Floats = weights @ vectors
    return mean
