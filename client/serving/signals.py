"""All signals of a shop for one context.

| Signal | Score of an item |
|---|---|
| `popularity` | log of the number of its users |
| `recency` | log of its visits of late |
| `frequency` | the user's own visits, halved every half-life, on a logarithmic scale |
| `item-knn`, `ease` | what goes with the items of the context |
| `text` | likeness of its text to the context's |
| `global` | likeness to the profile by the federation's adapter |
| `pairs` | what goes with the items of the context, by users of this shop and of others |
| `prior` | log of its popularity in all shops |
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from client.serving.counts import Counts
from client.serving.histories import UserEvents
from client.serving.neighbours import Neighbours
from client.serving.outside import NOTHING, Outside, Pairs
from client.serving.signal_kinds import Signal, Sparse, Toward
from client.serving.space import Space

HALF_LIFE = {"days": 120.0, "order": 10.0}
"""Of a visit in frequency and co-purchase, by unit of time."""

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
        outside: What the federation knows of other shops' users.
        pairs: EASE with the pairs among that.
    """

    counts: Counts
    near: Neighbours
    ease: Neighbours
    space: Space
    unit: str
    outside: Outside = NOTHING
    pairs: Pairs = field(default_factory=Pairs)

    @property
    def model(self) -> str:
        """Names what fusion weights were learned with, by content."""
        if not self.outside.digest:
            return self.space.model
        return hashlib.sha256(f"{self.space.model}{self.outside.digest}".encode()).hexdigest()

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

    def signals(self, context: Context) -> list[Signal]:
        """Computes all signals of a query in the order of `NAMES`."""
        return [make(self, context) for make in SIGNALS.values()]

    def used(self, context: Context, weights: Floats) -> list[Signal | None]:
        """Computes the signals that have a weight, `(len(NAMES),)`; None for the others."""
        makers = zip(SIGNALS.values(), weights.tolist(), strict=True)
        return [make(self, context) if weight > 0 else None for make, weight in makers]


_NO_PRIOR = Sparse(np.zeros(0, np.int64), np.zeros(0, np.float32))
SIGNALS: dict[str, Callable[[Sources, Context], Signal]] = {
    "popularity": lambda sources, _: sources.counts.popularity,
    "recency": lambda sources, _: sources.counts.recency,
    "frequency": lambda _, context: Sparse(context.own_items, context.own_visits),
    "item-knn": lambda sources, context: sources.near.add_up(context.items, context.visits),
    "ease": lambda sources, context: sources.ease.add_up(context.items, context.visits),
    "text": lambda sources, context: Toward(sources.space.text_profile(context.text)),
    "global": lambda sources, context: Toward(sources.space.global_profile(context.profile)),
    "pairs": lambda sources, context: sources.pairs.add_up(context.items, context.visits),
    "prior": lambda sources, _: sources.outside.prior or _NO_PRIOR,
}
"""How each signal is computed; a new one is a line here, in `LOCAL` or not, and a sentence in
`explaining`."""
NAMES = tuple(SIGNALS)
"""Names of all signals, the order of weights and parts."""
LOCAL = tuple(name for name in NAMES if name not in ("global", "pairs", "prior"))
"""Signals that a shop has without the federation."""


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
