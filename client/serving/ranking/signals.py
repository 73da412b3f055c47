"""All signals of a shop for one context.

| Signal | Score of an item |
|---|---|
| `popularity` | log of the number of its users |
| `frequency` | the user's own visits, halved every half-life, on a logarithmic scale |
| `item-knn`, `ease` | co-purchase with the items of the context |
| `sequence` | how often it followed the latest items; where events have ranks |
| `text` | likeness of its text to the context's |
| `text-map` | the same after a map of texts that the shop learned from its users |
| `global` | likeness to the profile by the federation's adapter, and co-purchase elsewhere |
| `pairs` | co-purchase with them by users of this shop and of others |
| `prior` | log of its popularity in all shops |

Those of the shop's own are the recommenders of `client.recommenders.local`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from client.recommenders.config import CONFIGS
from client.recommenders.ease import FederatedEASE
from client.recommenders.interface import QueryContext, ServedRecommender
from client.recommenders.item_knn import ItemKNN
from client.recommenders.local import LOCAL_SIGNALS
from client.recommenders.popularity import Popularity
from client.recommenders.tables.item_scores import (
    DirectionScores,
    ItemScores,
    ProfileScores,
    SparseScores,
)
from client.recommenders.tables.item_vectors import ProfileSpace
from client.recommenders.visits import by_item
from client.serving.features.federated_statistics import NO_FEDERATION, FederatedStatistics
from client.serving.features.interactions import UserEvents

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SignalSources:
    """Everything that scores are computed from; parts are replaced as a whole.

    Attributes:
        local: The fitted recommenders that know items by who took them, by name.
        space: Item vectors, adapter and text map.
        time_unit: "days" or "order".
        federated: What the federation knows of other shops' users.
        federated_ease: EASE with the pairs among that; None without pairs.
    """

    local: Mapping[str, ServedRecommender]
    space: ProfileSpace
    time_unit: str
    federated: FederatedStatistics = NO_FEDERATION
    federated_ease: FederatedEASE | None = None

    @property
    def popularity(self) -> Popularity:
        """The one recommender that counts single events; the others wait for a refresh."""
        return popularity_of(self.local)

    @property
    def item_knn(self) -> ItemKNN:
        """Nearest neighbours."""
        recommender = self.local["item-knn"]
        if not isinstance(recommender, ItemKNN):
            raise TypeError(f"item-knn={recommender!r} must have neighbours")
        return recommender

    @property
    def local_signals(self) -> tuple[str, ...]:
        """Names of the shop's own signals."""
        return LOCAL_SIGNALS[self.time_unit]

    @property
    def model(self) -> str:
        """Names what fusion weights were learned with, by content."""
        parts = f"{self.space.model}{self.federated.digest}{self.local_signals}"
        return hashlib.sha256(parts.encode()).hexdigest()

    def context(self, events: UserEvents, own: UserEvents) -> QueryContext:
        """Sums up the events of a context and the user's own history."""
        config, age = CONFIGS[self.time_unit], _age(events)
        items, visits = by_item(events.item, events.visit, age, config.visit_half_life)
        own_items, own_visits = items, visits
        if own is not events:
            own_items, own_visits = by_item(own.item, own.visit, _age(own), config.visit_half_life)
        strongest = _largest(items, events, events.visit, age, config.visit_half_life)
        latest = _largest(items, events, events.visit > 0, age, config.sequence_half_life)
        space = self.space
        vectors = space.vectors[events.item]
        text = _mean(vectors, events, age, space.text_half_life)
        profile = _mean(vectors, events, age, space.half_life) if space.has_adapter else text
        return QueryContext(
            items=items,
            counts=visits if config.row_form == "visits" else strongest,
            latest=latest,
            text=text,
            profile=profile,
            own_items=own_items,
            own_visits=own_visits,
            co_purchase=self._co_purchase(events, age),
        )

    def _co_purchase(self, events: UserEvents, age: npt.NDArray[np.float64]) -> Floats:
        vectors = self.federated.co_purchase
        if vectors is None or not self.space.has_adapter:
            return np.zeros(0, dtype=np.float32)
        return vectors.profile(events.item, profile_weights_of(events, age, self.space.half_life))

    def global_scores(self, profile: Floats, co_purchase: Floats) -> ItemScores:
        """Scores all items by the federation's profile model, on the scale of its popularity.

        Args:
            profile: Mean vector of the context, `(d,)`.
            co_purchase: Its profile by co-purchase vectors, `(r,)`; empty without them.
        """
        scale = np.float32(self.federated.scale)
        texts = DirectionScores(scale * self.space.global_profile(profile))
        vectors = self.federated.co_purchase
        if vectors is None or not len(co_purchase):
            return texts
        return ProfileScores(texts, SparseScores(vectors.head, vectors.scores(co_purchase)))

    def signals(self, context: QueryContext) -> list[ItemScores]:
        """Computes all signals of a query in the order of `SIGNAL_NAMES`."""
        return [make(self, context) for make in SIGNALS.values()]

    def weighted_signals(self, context: QueryContext, weights: Floats) -> list[ItemScores | None]:
        """Computes the signals that have a weight, `(len(SIGNAL_NAMES),)`; None for the others."""
        makers = zip(SIGNALS.values(), weights.tolist(), strict=True)
        return [make(self, context) if weight > 0 else None for make, weight in makers]


_NOTHING = SparseScores(np.zeros(0, np.int64), np.zeros(0, np.float32))


def _local(name: str) -> Callable[[SignalSources, QueryContext], ItemScores]:
    def answer(sources: SignalSources, context: QueryContext) -> ItemScores:
        recommender = sources.local.get(name)
        return _NOTHING if recommender is None else recommender.answer(context)

    return answer


def _pairs(sources: SignalSources, context: QueryContext) -> ItemScores:
    pairs = sources.federated_ease
    return _NOTHING if pairs is None else pairs.answer(context)


SIGNALS: dict[str, Callable[[SignalSources, QueryContext], ItemScores]] = {
    **{name: _local(name) for name in ("popularity", "frequency", "item-knn", "ease", "sequence")},
    "text": lambda sources, context: DirectionScores(sources.space.text_profile(context.text)),
    "text-map": lambda sources, context: DirectionScores(
        sources.space.mapped_profile(context.text)
    ),
    "global": lambda sources, context: sources.global_scores(context.profile, context.co_purchase),
    "pairs": _pairs,
    "prior": lambda sources, _: sources.federated.prior or _NOTHING,
}
"""How each signal is computed; a new one is a line here, and a sentence in
`client.serving.state.explain`."""
SIGNAL_NAMES = tuple(SIGNALS)
"""Names of all signals, the order of weights and parts."""


def popularity_of(local: Mapping[str, ServedRecommender]) -> Popularity:
    """Returns what counts single events."""
    popularity = local["popularity"]
    if not isinstance(popularity, Popularity):
        raise TypeError(f"popularity={popularity!r} must count events")
    return popularity


def _age(events: UserEvents) -> npt.NDArray[np.float64]:
    """Returns ages before the latest event, `(n,)`."""
    age: npt.NDArray[np.float64] = events.time.max(initial=-np.inf) - events.time
    return age


def _largest(
    items: npt.NDArray[np.int32],
    events: UserEvents,
    weight: npt.NDArray[np.floating | np.bool_],
    age: npt.NDArray[np.float64],
    half_life: float,
) -> Floats:
    """Returns the largest `weight 2^(-age / half_life)` of each item's events, `(m,)`."""
    largest = np.zeros(len(items))
    np.maximum.at(largest, np.searchsorted(items, events.item), weight * np.exp2(-age / half_life))
    return largest.astype(np.float32)


def _mean(
    vectors: Floats, events: UserEvents, age: npt.NDArray[np.float64], half_life: float
) -> Floats:
    """Weighs the vectors by type, recency and quantity; only the direction matters later."""
    if not len(events):
        return np.zeros(vectors.shape[1], dtype=np.float32)
    mean: Floats = profile_weights_of(events, age, half_life) @ vectors
    return mean


def profile_weights_of(
    events: UserEvents, age: npt.NDArray[np.float64], half_life: float
) -> Floats:
    """Returns what each event counts in a profile, by type, recency and quantity, `(n,)`."""
    weights: Floats = events.amount * np.exp2(-age / half_life).astype(np.float32)
    return weights
