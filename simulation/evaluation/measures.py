"""What is measured of one method's rankings on one surface of one shop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from client.fusion import masked
from client.recommenders.history import Floats, History
from client.recommenders.interface import Scores
from client.surfaces import Queries
from shared.metrics.ranking import diversity, hit_rate, hits, ndcg, novelty, recall, top_k

DEPTH = 20
"""Places of a ranking that are kept."""
METRICS = ("ndcg@10", "hr@10", "recall@20", "diversity@10", "novelty@10")
"""Metrics with one value a user, in the order of `Ranking.values`."""
COVERAGE = "coverage@20"
"""The metric of all users together."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """One method's answers to the queries of one surface.

    Attributes:
        users: User code of each query, `(q,)`.
        items: Catalogue codes, best first, -1 where there was no further candidate, `(q, <= 20)`.
        scores: Their scores, minus infinity where there is no item, `(q, <= 20)`.
        values: One column for each of `METRICS`, `(q, 5)`.
        n_candidates: Candidates of the surface that at least one user may be shown.
    """

    users: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]
    scores: Scores
    values: npt.NDArray[np.float64]
    n_candidates: int


@dataclass(frozen=True, eq=False)
class ItemFacts:
    """What diversity and novelty need to know of the candidates.

    Attributes:
        vectors: Text vectors, `(c, d)`.
        share: Share of the shop's users who had each before, `(c,)`; an item that nobody had counts
            as if one had.
    """

    vectors: Floats
    share: npt.NDArray[np.float64]

    @staticmethod
    def of(history: History, item_vectors: Floats) -> ItemFacts:
        """Looks the facts up for the candidates of a history."""
        share = np.maximum(history.users_per_item, 1) / max(len(history.now), 1)
        return ItemFacts(item_vectors[history.candidates], share)


def measure(scores: Scores, queries: Queries, facts: ItemFacts) -> Ranking:
    """Ranks all candidates and measures each query's ranking."""
    open_scores = masked(scores, queries)
    ranked = top_k(open_scores, DEPTH)
    found, n_targets = hits(ranked, queries.targets), queries.targets.sum(axis=1)
    values = (
        ndcg(found, n_targets, 10),
        hit_rate(found, 10),
        recall(found, n_targets, 20),
        diversity(ranked[:, :10], facts.vectors),
        novelty(ranked[:, :10], facts.share),
    )
    places = np.maximum(ranked, 0)
    allowed = queries.allowed
    return Ranking(
        users=queries.users,
        items=np.where(ranked < 0, -1, queries.history.candidates[places]),
        scores=np.take_along_axis(open_scores, places, axis=1),
        values=np.stack(values, axis=1),
        n_candidates=scores.shape[1] if allowed is None else int(allowed.any(axis=0).sum()),
    )
