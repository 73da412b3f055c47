"""Choice of hyper-parameters on a shop's validation window, the same way for every recommender.

Each algorithm has a short grid whose defaults come from public data, one for each surface. A shop
departs from the default only where its own validation users show a gain above one standard error:
small shops would otherwise fit noise. Nothing is chosen by looking at other shops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from client.fusion import better, ndcg_of, standardise
from client.recommenders.als import ALS
from client.recommenders.ease import EASE
from client.recommenders.frequency import OwnFrequency
from client.recommenders.history import Floats, History
from client.recommenders.interface import Recommender, Scores
from client.recommenders.item_knn import ItemKNN
from client.recommenders.pairs_ease import PairGram, PairsEASE
from client.recommenders.popularity import Popularity
from client.recommenders.profile import ProfileRecommender
from client.recommenders.text_map import TextMap
from client.surfaces import SHARED_CONTEXT, Queries

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


def local_grids(item_vectors: Floats, time_unit: str) -> dict[str, Grid]:
    """Returns the grids of all local recommenders.

    Args:
        item_vectors: Text vectors of the catalogue, `(n_items, d)`.
        time_unit: "days" or "order"; half-lives differ.
    """
    days = time_unit == "days"
    half_lives = (120.0, 60.0, 240.0) if days else (10.0, 3.0, 100.0)
    text = (60.0, 30.0, 120.0) if days else (3.0, 10.0, 100.0)
    return {
        "popularity": Grid([Popularity()], {}),
        "frequency": Grid([OwnFrequency(h) for h in half_lives], {}),
        "item-knn": _knn_grid(days=days),
        "ease": _ease_grid(days=days),
        "als": _als_grid(days=days),
        "text": Grid([ProfileRecommender(item_vectors, half_life=h) for h in text], {}),
        "text-map": _text_map_grid(item_vectors, days=days),
    }


def _knn_grid(*, days: bool) -> Grid:
    if days:
        return Grid([ItemKNN(form="visits", half_life=120.0, shrink=20.0)], {})
    return Grid([ItemKNN(form="last", half_life=10.0, shrink=s) for s in (1.0, 5.0)], {})


def _ease_grid(*, days: bool) -> Grid:
    if not days:
        settings = [(20.0, 10.0), (20.0, 3.0), (100.0, 10.0), (5.0, 10.0)]
        return Grid([EASE(l2=l2, form="last", half_life=h) for l2, h in settings], {})
    variants = [
        EASE(l2=30.0, form="visits", half_life=120.0),
        EASE(l2=100.0, form="visits", half_life=120.0),
        EASE(l2=300.0, form="last", half_life=120.0),
    ]
    return Grid(variants, {"for-you": 0, "discover": 1, "tail": 2, "basket": 1})


def pairs_grid(gram: PairGram, time_unit: str) -> Grid:
    """Returns the grid of EASE on a shop's own users and the pairs of others.

    Args:
        gram: Pairs of the other shops' users.
        time_unit: "days" or "order".
    """
    if time_unit == "days":
        return Grid(
            [
                PairsEASE(gram, weight=weight, l2=100.0, form="visits", half_life=120.0)
                for weight in (0.2, 0.05)
            ],
            {},
        )
    return Grid(
        [PairsEASE(gram, weight=w, l2=20.0, form="last", half_life=10.0) for w in (1.0, 0.3)], {}
    )


def _als_grid(*, days: bool) -> Grid:
    if days:
        return Grid([ALS(factors=16, iterations=5, form="visits", half_life=120.0)], {})
    return Grid([ALS(factors=32, l2=l2, alpha=10.0, half_life=10.0) for l2 in (10.0, 3.0)], {})


def _text_map_grid(item_vectors: Floats, *, days: bool) -> Grid:
    if days:
        return Grid([TextMap(item_vectors, half_life=60.0, epochs=2, pairs=2, scale=3.0)], {})
    settings = [(3.0, 0.003), (3.0, 0.0015)]
    return Grid(
        [TextMap(item_vectors, half_life=h, pairs=8, learning_rate=rate) for h, rate in settings],
        {},
    )


def score_surfaces(recommender: Recommender, queries: Mapping[str, Queries]) -> dict[str, Scores]:
    """Scores all surfaces; those asked about the same histories share the work.

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
        shared: Scores of `for-you` by `id` of the recommender, kept here for the next surface.
    """
    asked = queries[surface]
    if surface not in SHARED_CONTEXT or "for-you" not in queries:
        return recommender.score(asked)
    base = queries["for-you"]
    if id(recommender) not in shared:
        shared[id(recommender)] = recommender.score(base)
    scores = shared[id(recommender)]
    return scores if asked is base else scores[np.searchsorted(base.users, asked.users)]


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
        found = score_surfaces(only.fit(history), queries)
        return {s: Choice(only, standardise(found[s], queries[s].allowed)) for s in queries}
    values: dict[str, list[Values]] = {surface: [] for surface in queries}
    kept: dict[str, dict[int, Scores]] = {surface: {} for surface in queries}
    for i, variant in enumerate(grid.variants):
        for surface, scores in score_surfaces(variant.fit(history), queries).items():
            values[surface].append(ndcg_of(scores, queries[surface]))
            best = _choose(values[surface], grid.defaults.get(surface, 0))
            held = {**kept[surface], i: scores}
            kept[surface] = {j: held[j] for j in {best, grid.defaults.get(surface, 0)} if j in held}
    choices = {}
    for surface, asked in queries.items():
        best = _choose(values[surface], grid.defaults.get(surface, 0))
        scores = standardise(kept[surface][best], asked.allowed)
        choices[surface] = Choice(grid.variants[best], scores)
    return choices


def _choose(values: Sequence[Values], default: int) -> int:
    """Returns the best variant so far if it clearly beats the default, else the default."""
    top = int(np.argmax([value.mean() for value in values]))
    if default >= len(values):
        return top
    return top if better(values[top], values[default], caution=1.0) else default


def parameters(recommender: Recommender) -> dict[str, Any]:
    """Returns the hyper-parameters of a recommender as plain values."""
    return {
        name: None if value == np.inf else value
        for name, value in vars(recommender).items()
        if not name.startswith("_") and isinstance(value, (int, float, str))
    }
