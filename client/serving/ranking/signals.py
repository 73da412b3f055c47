"""All signals of a shop for one context.

| Signal | Score of an item |
|---|---|
| `popularity` | log of the number of its users |
| `recency` | log of its decayed visits, newest most |
| `frequency` | the user's own visits, halved every half-life, on a logarithmic scale |
| `item-knn`, `ease` | co-purchase with the items of the context |
| `text` | likeness of its text to the context's |
| `global` | likeness to the profile by the federation's adapter |
| `pairs` | co-purchase with them by users of this shop and of others |
| `prior` | log of its popularity in all shops |
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from client.recommenders.defaults import VISIT_HALF_LIFE
from client.serving.features.federated_statistics import NO_FEDERATION, FederatedStatistics
from client.serving.features.interactions import UserEvents
from client.serving.features.item_item import FederatedNeighbours, Neighbours
from client.serving.features.item_popularity import ItemPopularity
from client.serving.features.item_scores import DirectionScores, ItemScores, SparseScores
from client.serving.features.item_vectors import ProfileSpace

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class QueryContext:
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
class SignalSources:
    """Everything that scores are computed from; parts are replaced as a whole.

    Attributes:
        popularity: Popularity and recency.
        neighbours: Nearest neighbours.
        ease: EASE.
        space: Item vectors and adapter.
        time_unit: "days" or "order".
        federated: What the federation knows of other shops' users.
        federated_ease: EASE with the pairs among that.
    """

    popularity: ItemPopularity
    neighbours: Neighbours
    ease: Neighbours
    space: ProfileSpace
    time_unit: str
    federated: FederatedStatistics = NO_FEDERATION
    federated_ease: FederatedNeighbours = field(default_factory=FederatedNeighbours)

    @property
    def model(self) -> str:
        """Names what fusion weights were learned with, by content."""
        if not self.federated.digest:
            return self.space.model
        return hashlib.sha256(f"{self.space.model}{self.federated.digest}".encode()).hexdigest()

    def moment(self, events: UserEvents) -> float:
        """Returns the moment from which ages count: the shop's latest, or the user's next rank."""
        if self.time_unit == "days":
            return self.popularity.now
        return float(events.time[-1]) + 1.0 if len(events) else 0.0

    def context(self, events: UserEvents, own: UserEvents) -> QueryContext:
        """Sums up the events of a context and the user's own history."""
        age = np.maximum(self.moment(events) - events.time, 0.0)
        items, visits = _by_item(events, age, VISIT_HALF_LIFE[self.time_unit])
        if own is events:
            own_items, own_visits = items, visits
        else:
            own_age = np.maximum(self.moment(own) - own.time, 0.0)
            own_items, own_visits = _by_item(own, own_age, VISIT_HALF_LIFE[self.time_unit])
        space = self.space
        vectors = space.vectors[events.item]
        text = _mean(vectors, events, age, space.text_half_life)
        profile = _mean(vectors, events, age, space.half_life) if space.has_adapter else text
        return QueryContext(items, visits, text, profile, own_items, own_visits)

    def signals(self, context: QueryContext) -> list[ItemScores]:
        """Computes all signals of a query in the order of `SIGNAL_NAMES`."""
        return [make(self, context) for make in SIGNALS.values()]

    def weighted_signals(self, context: QueryContext, weights: Floats) -> list[ItemScores | None]:
        """Computes the signals that have a weight, `(len(SIGNAL_NAMES),)`; None for the others."""
        makers = zip(SIGNALS.values(), weights.tolist(), strict=True)
        return [make(self, context) if weight > 0 else None for make, weight in makers]


_NO_PRIOR = SparseScores(np.zeros(0, np.int64), np.zeros(0, np.float32))
SIGNALS: dict[str, Callable[[SignalSources, QueryContext], ItemScores]] = {
    "popularity": lambda sources, _: sources.popularity.popularity,
    "recency": lambda sources, _: sources.popularity.recency,
    "frequency": lambda _, context: SparseScores(context.own_items, context.own_visits),
    "item-knn": lambda sources, context: sources.neighbours.add_up(context.items, context.visits),
    "ease": lambda sources, context: sources.ease.add_up(context.items, context.visits),
    "text": lambda sources, context: DirectionScores(sources.space.text_profile(context.text)),
    "global": lambda sources, context: DirectionScores(
        sources.space.global_profile(context.profile)
    ),
    "pairs": lambda sources, context: sources.federated_ease.add_up(context.items, context.visits),
    "prior": lambda sources, _: sources.federated.prior or _NO_PRIOR,
}
"""How each signal is computed; a new one is a line here, in `LOCAL_SIGNALS` or not, and a sentence
in `client.serving.state.explain`."""
SIGNAL_NAMES = tuple(SIGNALS)
"""Names of all signals, the order of weights and parts."""
LOCAL_SIGNALS = tuple(name for name in SIGNAL_NAMES if name not in ("global", "pairs", "prior"))
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
