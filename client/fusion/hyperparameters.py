"""Choice of a variant on a shop's validation window, the same way for every recommender.

Most have one: their constants come from public data. A shop departs from the default variant only
where its own validation users show a gain above one standard error: small shops would otherwise fit
noise. Nothing is chosen by looking at other shops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from client.fusion.scores import better, ndcg_of, standardise
from client.recommenders.interface import Recommender, Scores
from client.recommenders.local import federated_ease, local_recommenders
from client.recommenders.queries import SHARED_CONTEXT, Floats, History, Queries
from client.recommenders.tables.pair_gram import PairGram

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


def pairs_grid(gram: PairGram, time_unit: str) -> Grid:
    """Returns EASE on a shop's own users and the pairs of others.

    Args:
        gram: Pairs of the other shops' users.
        time_unit: "days" or "order".
    """
    return Grid([federated_ease(gram, time_unit)], {})


def local_grids(item_vectors: Floats, time_unit: str) -> dict[str, Grid]:
    """Returns all local recommenders, by the names in `LOCAL_SIGNALS`.

    Args:
        item_vectors: Text vectors of the catalogue, `(n_items, d)`.
        time_unit: "days" or "order"; half-lives differ.
    """
    recommenders = local_recommenders(item_vectors, time_unit)
    return {name: Grid([recommender], {}) for name, recommender in recommenders.items()}


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
