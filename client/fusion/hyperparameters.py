"""Choice of a variant on a shop's validation window, the same way for every recommender.

Most have one: their constants come from public data. A shop departs from the default variant only
where its own validation users show a gain above one standard error: small shops would otherwise fit
noise. Nothing is chosen by looking at other shops.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from client.fusion.scores import better, ndcg_of
from client.recommenders.interface import Recommender, Scores
from client.recommenders.local import local_recommenders
from client.recommenders.queries import SHARED_CONTEXT, Floats, History, Queries

Values = npt.NDArray[np.float64]


Grids = dict[str, Sequence[Recommender]]
"""Variants by signal, the default first."""


def local_grids(item_vectors: Floats, time_unit: str) -> Grids:
    """Returns all local recommenders, by the names in `LOCAL_SIGNALS`.

    Args:
        item_vectors: Text vectors of the catalogue, `(n_items, d)`.
        time_unit: "days" or "order"; half-lives differ.
    """
    recommenders = local_recommenders(item_vectors, time_unit)
    return {name: [recommender] for name, recommender in recommenders.items()}


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


def tune(
    grids: Mapping[str, Sequence[Recommender]],
    history: History,
    blocks: Iterable[Mapping[str, Queries]],
) -> dict[str, dict[str, Recommender]]:
    """Fits all variants, and chooses one of each grid for each surface by NDCG@10.

    Args:
        grids: The variants by signal, the default first.
        history: What the shop knows before the validation window.
        blocks: The validation queries by surface, some users at a time, `for-you` before the
            surfaces that share it.

    Returns:
        signal -> surface -> fitted variant, for the surfaces that have queries.
    """
    # What `fit` returns: a model of all shops' users becomes one for this shop's candidates.
    fitted = {name: [v.fit(history) for v in variants] for name, variants in grids.items()}
    values: dict[tuple[str, str], list[list[Values]]] = {}
    for queries in blocks:
        for name, variants in fitted.items():
            for i, variant in enumerate(variants):
                # With nothing to choose there is nothing to measure.
                scores_of = score_surfaces(variant, queries) if len(variants) > 1 else {}
                for surface, asked in queries.items():
                    of_grid = values.setdefault((name, surface), [[] for _ in variants])
                    if scores_of:
                        of_grid[i].append(ndcg_of(scores_of[surface], asked))
    chosen: dict[str, dict[str, Recommender]] = {name: {} for name in grids}
    for (name, surface), measured in values.items():
        variants = fitted[name]
        best = 0
        if len(variants) > 1:
            best = choose([np.concatenate(parts) for parts in measured])
        chosen[name][surface] = variants[best]
    return chosen


def choose(values: Sequence[Values]) -> int:
    """Returns the place of the best variant if it clearly beats the first, the default, else 0.

    Args:
        values: NDCG@10 of the same queries under each variant.
    """
    top = int(np.argmax([value.mean() for value in values]))
    return top if better(values[top], values[0], standard_errors=1.0) else 0


def parameters(recommender: Recommender) -> dict[str, Any]:
    """Returns the hyper-parameters of a recommender as plain values."""
    return {
        name: None if value == np.inf else value
        for name, value in vars(recommender).items()
        if not name.startswith("_") and isinstance(value, (int, float, str))
    }
