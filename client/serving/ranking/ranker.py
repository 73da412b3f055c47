"""How an answer is ranked: request, items that may be shown, fused signals, the best items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from client.recommenders.interface import QueryContext
from client.recommenders.tables.item_scores import (
    DenseScores,
    DirectionScores,
    ItemScores,
    ProfileScores,
    SparseScores,
)
from client.recommenders.tables.item_vectors import ItemVectors
from client.serving.features.interactions import NO_EVENTS, UserEvents
from client.serving.features.item_table import ItemTable
from client.serving.ranking.rules import NO_RULES, SurfaceRules
from client.serving.ranking.signals import SIGNAL_NAMES

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Ranking:
    """The best items of a query.

    Attributes:
        items: Rows of the item table, best first, `(k,)`.
        scores: `(k,)`.
        parts: What each signal adds to each score, `(k, len(SIGNAL_NAMES))`; a row's sum is its
            score, together with `moved`.
        moved: What rules of the shop add to each score, `(k,)`; None for nothing.
    """

    items: Rows
    scores: Floats
    parts: Floats
    moved: Floats | None = None

    def __len__(self) -> int:
        return len(self.items)

    def select(self, places: Rows | slice) -> Ranking:
        """Returns some places of the ranking."""
        moved = None if self.moved is None else self.moved[places]
        return Ranking(self.items[places], self.scores[places], self.parts[places], moved)

    def before(self, other: Ranking) -> Ranking:
        """Returns this ranking with another one behind."""
        moved = None
        if self.moved is not None and other.moved is not None:
            moved = np.concatenate([self.moved, other.moved])
        return Ranking(
            np.concatenate([self.items, other.items]),
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.parts, other.parts]),
            moved,
        )


def mean_and_deviation(
    signals: Sequence[ItemScores | None], vectors: ItemVectors, excluded: npt.NDArray[np.int32]
) -> tuple[Floats, Floats]:
    """Returns mean and deviation of each signal over all items but the excluded ones.

    A signal that is the same everywhere, or absent, has an infinite deviation, so that it counts
    for nothing.

    Args:
        signals: `(s,)`, None for an absent one.
        vectors: Of all items.
        excluded: Distinct items.

    Returns:
        `(s,)` and `(s,)`.
    """
    n = max(len(vectors) - len(excluded), 1)
    sums = np.zeros((len(signals), 2))
    for place, signal in enumerate(signals):
        if signal is None:
            continue
        sums[place] = signal.sums(vectors)
        if len(excluded):
            of_excluded = signal.at(excluded, vectors).astype(np.float64)
            sums[place] -= of_excluded.sum(), of_excluded @ of_excluded
    mean, square = sums[:, 0] / n, sums[:, 1] / n
    variance = square - mean**2
    # The difference of two large numbers: below 1e-6 of the square it is rounding, no signal.
    flat = variance <= 1e-6 * np.maximum(square, 1e-30)
    deviation = np.where(flat, np.inf, np.sqrt(np.maximum(variance, 0)))
    return mean.astype(np.float32), deviation.astype(np.float32)


def weight_row(weights: Mapping[str, float]) -> Floats:
    """Returns weights in the order of `SIGNAL_NAMES`, 0 for names that are absent."""
    return np.array([weights.get(name, 0.0) for name in SIGNAL_NAMES], dtype=np.float32)


def rank(
    signals: Sequence[ItemScores | None],
    weights: Floats,
    *,
    vectors: ItemVectors,
    excluded: npt.NDArray[np.int32],
    allowed: Bools,
    k: int,
    rules: SurfaceRules = NO_RULES,
) -> Ranking:
    """Fuses standardised signals and takes the best items.

    Args:
        signals: `(s,)`, None where the weight is 0.
        weights: `(s,)`, non-negative.
        vectors: Of all items.
        excluded: Items that are no candidates of the query, left out of the standardisation.
        allowed: Items that may be shown, `(n_items,)`; excluded ones are never shown.
        k: Length of the ranking at most, without pinned items.
        rules: Of the shop; the items that they pin come first, by their places.
    """
    mean, deviation = mean_and_deviation(signals, vectors, excluded)
    factors: Floats = (weights / deviation).astype(np.float32)
    # One product serves all directions, and int8 serves it first: only the items whose rough score
    # lies within the error bound of the k-th can be among the best, and are scored exactly.
    direction = _direction(signals, factors, vectors.dim)
    rough, slack = vectors.rough(direction)
    scores = _add_rest(rough.copy(), signals, factors)
    scores[~allowed] = -np.inf
    scores[excluded] = -np.inf
    moved = rules.moved(scores, np.isfinite(scores))
    if moved is not None:
        scores += moved
    pinned = np.array([row for _, row in rules.pinned(np.isfinite(scores))], dtype=np.int64)
    scores[pinned] = -np.inf
    # Two items can be off by the bound each, in opposite directions: hence twice.
    best = top_k(scores, k) if slack == 0.0 else _near_top(scores, k, 2.0 * slack)
    if slack:
        better = scores[best] - rough[best] + vectors[best] @ direction
        best = best[np.argsort(-better, kind="stable")[:k]]
    best = np.concatenate([pinned, best])
    parts = np.zeros((len(best), len(signals)), dtype=np.float32)
    for place, signal in enumerate(signals):
        if signal is not None and factors[place]:
            parts[:, place] = factors[place] * (signal.at(best, vectors) - mean[place])
    if moved is None:
        return Ranking(best, parts.sum(axis=1), parts)
    return Ranking(best, parts.sum(axis=1) + moved[best], parts, moved[best])


def _direction(signals: Sequence[ItemScores | None], factors: Floats, dim: int) -> Floats:
    """Adds up all directions, so that one product with the vectors serves them all."""
    direction = np.zeros(dim, dtype=np.float32)
    for signal, factor in zip(signals, factors, strict=True):
        texts = signal.texts if isinstance(signal, ProfileScores) else signal
        if isinstance(texts, DirectionScores):
            direction += factor * texts.direction
    return direction


def _add_rest(scores: Floats, signals: Sequence[ItemScores | None], factors: Floats) -> Floats:
    for signal, factor in zip(signals, factors, strict=True):
        few = signal.co_purchase if isinstance(signal, ProfileScores) else signal
        if isinstance(few, DenseScores):
            scores += factor * few.values
        elif isinstance(few, SparseScores):
            scores[few.rows] += factor * few.values
    return scores


def _near_top(scores: Floats, k: int, margin: float) -> Rows:
    """Returns all places within a margin of the best `k`, ascending."""
    floor = -np.inf
    if k < len(scores):
        floor = np.partition(scores, len(scores) - k)[len(scores) - k] - margin
    return np.flatnonzero(scores >= floor if floor > -np.inf else scores > floor)


def top_k(scores: Floats, k: int) -> Rows:
    """Returns the best `k` places of `(n,)`, equal ones by place; minus infinity is left out."""
    if k < len(scores):
        # All that equal the k-th stay until the stable sort, so that ties go by place and a page of
        # a ranking is the same whatever its length.
        floor = np.partition(scores, len(scores) - k)[len(scores) - k]
        best = (
            np.flatnonzero(scores >= floor) if floor > -np.inf else np.flatnonzero(scores > floor)
        )
    else:
        best = np.flatnonzero(scores > -np.inf)
    order = np.argsort(-scores[best], kind="stable")[:k]
    return best[order]


LOOK_AHEAD = 100
"""Items among which diversity chooses the next one."""


def diversify(ranking: Ranking, vectors: Floats, *, n: int, diversity: float) -> Ranking:
    """Chooses `n` items by maximal marginal relevance (https://doi.org/10.1145/290941.291025).

    Each place is chosen among the best `LOOK_AHEAD` that are left. So it does not depend on how
    many places are asked for, and pages are slices of one choice.

    Args:
        ranking: More items than are asked for.
        vectors: Item vectors of the ranking, `(k, d)`.
        n: Items to choose.
        diversity: 0 keeps the ranking, 1 looks only at what differs from the items before.
    """
    if diversity == 0.0 or len(ranking) <= 1:
        return ranking.select(slice(0, n))
    last = ranking.scores[min(len(ranking), LOOK_AHEAD) - 1]
    relevance = (ranking.scores - last) / max(float(ranking.scores[0] - last), 1e-9)
    nearest = np.zeros(len(ranking), dtype=np.float32)
    chosen: list[int] = []
    value = (1 - diversity) * relevance
    for _ in range(min(n, len(ranking))):
        gain = (value - diversity * nearest)[: len(chosen) + LOOK_AHEAD]
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        np.maximum(nearest, vectors @ vectors[chosen[-1]], out=nearest)
    return ranking.select(np.array(chosen))


def min_bound(one: int | None, other: int | None) -> int | None:
    """Returns the lower of two bounds, None for no bound."""
    return min((bound for bound in (one, other) if bound is not None), default=None)


def cap_groups(
    ranking: Ranking,
    groups: npt.NDArray[np.int32],
    most: int | None,
    *,
    bounds: Mapping[int, int] = NO_RULES.bounds,
    taken: npt.NDArray[np.int32] | None = None,
) -> Ranking:
    """Drops items beyond the first `most` of their group; group -1 has no bound.

    Args:
        ranking: Best first.
        groups: Of its items, `(k,)`.
        most: Of each group; None for any number.
        bounds: Of single groups, where they are lower.
        taken: Groups of items that stand beside the ranking and count too.
    """
    return ranking.select(capped_places(groups, most, bounds=bounds, taken=taken))


def capped_places(
    groups: npt.NDArray[np.int32],
    most: int | None,
    *,
    bounds: Mapping[int, int] = NO_RULES.bounds,
    taken: npt.NDArray[np.int32] | None = None,
) -> Rows:
    """Returns the places that `cap_groups` leaves."""
    n_of_group: dict[int, int] = {}
    for group in () if taken is None else taken.tolist():
        n_of_group[group] = n_of_group.get(group, 0) + 1
    places = []
    for place, group in enumerate(groups.tolist()):
        n_of_group[group] = n_of_group.get(group, 0) + 1
        bound = min(bounds.get(group, np.inf), np.inf if most is None else most)
        if group < 0 or n_of_group[group] <= bound:
            places.append(place)
    return np.array(places, dtype=np.int64)


@dataclass(frozen=True)
class RecommendationRequest:
    """What a caller wants.

    Attributes:
        surface: `for-you`, `discover`, `buy-again` or `session`.
        n: Items.
        offset: Items of the ranking to leave out first.
        category: Only items of this category; None for all.
        exclude: Ids never to show.
        diversity: 0 to 1; see `diversify`.
        max_per_category: Items of one category at most; None for any number.
        variant: `fused`, or `local` for the shop's own signals alone.
    """

    surface: str
    n: int = 10
    offset: int = 0
    category: str | None = None
    exclude: tuple[str, ...] = ()
    diversity: float = 0.0
    max_per_category: int | None = None
    variant: str = "fused"

    @property
    def weights_surface(self) -> str:
        """Name of the fusion weights that the surface takes."""
        return "for-you" if self.surface == "buy-again" else self.surface


@dataclass(frozen=True, eq=False)
class RecommendationResult:
    """A ranking and what it was computed from.

    Attributes:
        ranking: The items.
        context: The context of the query.
        events: Its events.
        rules: The shop's rules that counted.
    """

    ranking: Ranking
    context: QueryContext
    events: UserEvents
    rules: SurfaceRules = NO_RULES


def excluded_rows(
    request: RecommendationRequest, events: UserEvents, own: UserEvents, taken_types: Bools
) -> npt.NDArray[np.int32]:
    """Returns distinct items that are no candidates at all, so that no mean counts them.

    Args:
        request: What is wanted.
        events: Of the context.
        own: The user's history.
        taken_types: Types that say that a user has an item, mask over `EVENT_TYPES`.
    """
    if request.surface == "discover":
        return own.taken(taken_types)
    return np.unique(events.item) if request.surface == "session" else NO_EVENTS.item


def allowed_mask(
    items: ItemTable, request: RecommendationRequest, own: UserEvents, taken_types: Bools
) -> Bools:
    """Marks the candidates that may be shown, `(n_items,)`."""
    allowed = items.shown.copy()
    if request.category is not None:
        allowed &= items.in_category(request.category)
    if request.exclude:
        allowed[items.rows_of(request.exclude)] = False
    if request.surface == "buy-again":
        again = np.zeros_like(allowed)
        again[own.taken(taken_types)] = True
        allowed &= again
    return allowed
