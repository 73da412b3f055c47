"""Choice of hyper-parameters on a shop's validation window, the same way for every recommender.

Each algorithm has a short grid whose defaults come from public data, one for each surface. A shop
departs from the default only where its own validation users show a gain above one standard error:
small shops would otherwise fit noise. Nothing is chosen by looking at other shops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from client.fusion.scores import better, ndcg_of, standardise
from client.recommenders.collaborative_filtering import ALS, EASE, ItemKNN
from client.recommenders.defaults import EASE_L2, TEXT_HALF_LIFE, VISIT_HALF_LIFE
from client.recommenders.federated_ease import FederatedEASE, PairGram
from client.recommenders.interface import OwnFrequency, Popularity, Recommender, Scores
from client.recommenders.profile import ProfileRecommender, TextMap
from client.recommenders.queries import SHARED_CONTEXT, Floats, Form, History, Queries

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Grid:
    """Variants of one algorithm.

    Attributes:
        variants: What is tried.
        defaults: Index of the default variant by surface; 0 where a surface is absent.
    """

    variants: Sequence[Recommender]
    defaults: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Choice:
    """The variant for one surface, with its standardised scores of the validation queries."""

    recommender: Recommender
    scores: Scores


def _frequency_grid(*, days: bool) -> Grid:
    half_lives = (VISIT_HALF_LIFE[_unit(days)], *((60.0, 240.0) if days else (3.0, 100.0)))
    return Grid([OwnFrequency(half_life) for half_life in half_lives], {})


def _text_grid(item_vectors: Floats, *, days: bool) -> Grid:
    half_lives = (TEXT_HALF_LIFE[_unit(days)], *((30.0, 120.0) if days else (10.0, 100.0)))
    return Grid([ProfileRecommender(item_vectors, half_life=h) for h in half_lives], {})


def _unit(days: bool) -> str:
    return "days" if days else "order"


def _knn_grid(*, days: bool) -> Grid:
    half_life = VISIT_HALF_LIFE[_unit(days)]
    if days:
        return Grid([ItemKNN(form="visits", half_life=half_life)], {})
    return Grid([ItemKNN(form="last", half_life=half_life, shrink=s) for s in (1.0, 5.0)], {})


def _ease_grid(*, days: bool) -> Grid:
    if not days:
        l2, half_life = EASE_L2["order"], VISIT_HALF_LIFE["order"]
        settings = [(l2, half_life), (l2, 3.0), (100.0, half_life), (5.0, half_life)]
        return Grid([EASE(l2=l2, form="last", half_life=h) for l2, h in settings], {})
    variants = [
        EASE(l2=30.0, form="visits", half_life=VISIT_HALF_LIFE["days"]),
        EASE(l2=EASE_L2["days"], form="visits", half_life=VISIT_HALF_LIFE["days"]),
        EASE(l2=300.0, form="last", half_life=VISIT_HALF_LIFE["days"]),
    ]
    return Grid(variants, {"for-you": 0, "discover": 1, "tail": 2, "basket": 1})


_PAIRS_WEIGHTS = {"days": (0.2, 0.05), "order": (1.0, 0.3)}
_PAIRS_FORM: dict[str, Form] = {"days": "visits", "order": "last"}


def pairs_grid(gram: PairGram, time_unit: str) -> Grid:
    """Returns the grid of EASE on a shop's own users and the pairs of others.

    Args:
        gram: Pairs of the other shops' users.
        time_unit: "days" or "order".
    """
    weights, form = _PAIRS_WEIGHTS[time_unit], _PAIRS_FORM[time_unit]
    l2, half_life = EASE_L2[time_unit], VISIT_HALF_LIFE[time_unit]
    variants = [
        FederatedEASE(gram, weight=weight, l2=l2, form=form, half_life=half_life)
        for weight in weights
    ]
    return Grid(variants, {})


def own_pairs_grid(time_unit: str) -> Grid:
    """Returns the grid of EASE on a shop's own users with the settings of `pairs_grid`.

    Args:
        time_unit: "days" or "order".
    """
    form, half_life = _PAIRS_FORM[time_unit], VISIT_HALF_LIFE[time_unit]
    penalties = (EASE_L2[time_unit], 3.0 * EASE_L2[time_unit])
    return Grid([EASE(l2=l2, form=form, half_life=half_life) for l2 in penalties], {})


def _als_grid(*, days: bool) -> Grid:
    half_life = VISIT_HALF_LIFE[_unit(days)]
    if days:
        return Grid([ALS(factors=16, iterations=5, form="visits", half_life=half_life)], {})
    return Grid([ALS(factors=32, l2=l2, alpha=10.0, half_life=half_life) for l2 in (10.0, 3.0)], {})


def _text_map_grid(item_vectors: Floats, *, days: bool) -> Grid:
    half_life = TEXT_HALF_LIFE[_unit(days)]
    if days:
        return Grid([TextMap(item_vectors, half_life=half_life, epochs=2, pairs=2, scale=3.0)], {})
    variants = [
        TextMap(item_vectors, half_life=half_life, pairs=8, learning_rate=rate)
        for rate in (0.003, 0.0015)
    ]
    return Grid(variants, {})


_GRIDS: dict[str, Callable[[Floats, bool], Grid]] = {
    "popularity": lambda _vectors, _days: Grid([Popularity()], {}),
    "frequency": lambda _vectors, days: _frequency_grid(days=days),
    "item-knn": lambda _vectors, days: _knn_grid(days=days),
    "ease": lambda _vectors, days: _ease_grid(days=days),
    "als": lambda _vectors, days: _als_grid(days=days),
    "text": lambda vectors, days: _text_grid(vectors, days=days),
    "text-map": lambda vectors, days: _text_map_grid(vectors, days=days),
}
LOCAL_SIGNALS = tuple(_GRIDS)
"""Signals that a shop has without any federation; a new recommender is a line above."""


def local_grids(item_vectors: Floats, time_unit: str) -> dict[str, Grid]:
    """Returns the grids of all local recommenders, by the names in `LOCAL_SIGNALS`.

    Args:
        item_vectors: Text vectors of the catalogue, `(n_items, d)`.
        time_unit: "days" or "order"; half-lives differ.
    """
    return {name: grid(item_vectors, time_unit == "days") for name, grid in _GRIDS.items()}


def score_surfaces(recommender: Recommender, queries: Mapping[str, Queries]) -> dict[str, Scores]:
    """Scores all surfaces; those with the same histories share the work.

    Returns:
        Scores `(q, c)` by surface.
    """
    shared: dict[int, Scores] = {}
    return {surface: score_surface(recommender, queries, surface, shared) for surface in queries}


def score_surface(
    recommender: Recommender,
    queries: Mapping[str, Queries],
    surface: str,
    shared: dict[int, Scores],
) -> Scores:
    """Scores one surface, `(q, c)`.

    Args:
        recommender: Fitted.
        queries: By surface; the users of a surface that shares histories are among `for-you`'s.
        surface: Which of them.
        shared: Scores of `for-you` by `id` of the recommender; filled for the next surface.
    """
    wanted = queries[surface]
    if surface not in SHARED_CONTEXT or "for-you" not in queries:
        return recommender.score(wanted)
    base = queries["for-you"]
    if id(recommender) not in shared:
        shared[id(recommender)] = recommender.score(base)
    scores = shared[id(recommender)]
    return scores if wanted is base else scores[np.searchsorted(base.users, wanted.users)]


def tune(grid: Grid, history: History, queries: Mapping[str, Queries]) -> dict[str, Choice]:
    """Chooses one variant for each surface by NDCG@10.

    Args:
        grid: The variants; they are fitted on `history`.
        history: What the shop knows before the validation window.
        queries: The validation queries by surface, `for-you` before the surfaces that share it.

    Returns:
        The choice for each surface of `queries`.
    """
    if len(grid.variants) == 1:  # nothing to choose, so nothing to measure
        (only,) = grid.variants
        scores_of = score_surfaces(only.fit(history), queries)
        return {s: Choice(only, standardise(scores_of[s], queries[s].allowed)) for s in queries}
    values: dict[str, list[Values]] = {surface: [] for surface in queries}
    # Only the scores of the best variant so far and of the default stay in memory: `(q, c)` floats.
    retained: dict[str, dict[int, Scores]] = {surface: {} for surface in queries}
    for i, variant in enumerate(grid.variants):
        for surface, scores in score_surfaces(variant.fit(history), queries).items():
            values[surface].append(ndcg_of(scores, queries[surface]))
            default = grid.defaults.get(surface, 0)
            wanted = {_choose(values[surface], default), default}
            scored = {**retained[surface], i: scores}
            retained[surface] = {j: scored[j] for j in wanted if j in scored}
    choices = {}
    for surface, of_surface in queries.items():
        best = _choose(values[surface], grid.defaults.get(surface, 0))
        scores = standardise(retained[surface][best], of_surface.allowed)
        choices[surface] = Choice(grid.variants[best], scores)
    return choices


def _choose(values: Sequence[Values], default: int) -> int:
    """Returns the best variant so far if it clearly beats the default, else the default."""
    top = int(np.argmax([value.mean() for value in values]))
    if default >= len(values):
        return top
    return top if better(values[top], values[default], standard_errors=1.0) else default


def parameters(recommender: Recommender) -> dict[str, Any]:
    """Returns the hyper-parameters of a recommender as plain values."""
    return {
        name: None if value == np.inf else value
        for name, value in vars(recommender).items()
        if not name.startswith("_") and isinstance(value, (int, float, str))
    }
