"""Recommendation by profile vectors: zero-shot text, and the federation's model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import numpy as np
import scipy.sparse as sp

from client.recommenders.interface import Scores
from client.recommenders.queries import Floats, History, Queries
from client.recommenders.tables.co_purchase import CoPurchaseVectors
from client.recommenders.visits import latest_times
from shared.model.profile_space import profile_weights

Project = Callable[[Floats], Floats]


class ProfileRecommender:
    """Scores an item by the similarity of its vector to the user's projected history.

    `score = project(mean of the history's item vectors) . z_item + prior_weight * prior_item`, the
    mean weighted by event type, recency and quantity; and what co-purchase adds to it, where the
    model has vectors of that too.

    Attributes:
        item_vectors: Vectors of the whole catalogue, `(n_items, d)`.
        project: Maps mean history vectors `(q, d)` to profile vectors `(q, d)`; None leaves them:
            zero-shot text.
        prior: What is added to an item's score, `(n_items,)`; None for nothing.
        half_life: Of an event in the profile, in the unit of `Events.time`.
        prior_weight: Factor on `prior`.
        co_purchase: Further vectors of some items; None for none.
    """

    def __init__(
        self,
        item_vectors: Floats,
        project: Project | None = None,
        prior: Floats | None = None,
        *,
        co_purchase: CoPurchaseVectors | None = None,
        half_life: float,
        prior_weight: float = 1.0,
    ) -> None:
        self.item_vectors = item_vectors
        self.project = project
        self.prior = prior
        self.half_life = half_life
        self.prior_weight = prior_weight
        self.co_purchase = co_purchase

    def fit(self, history: History) -> Self:
        """Has nothing to learn: the vectors come from outside."""
        del history
        return self

    def score(self, queries: Queries) -> Scores:
        """Compares profiles and candidates, `(q, c)`."""
        history, vectors, project = queries.history, self.item_vectors, self.project
        if self.prior is None:
            scores = self._similarities(history)
        else:
            # The same for all shares of popularity beside it. Keys are ids of objects that are
            # cached too: freed, others could get their id.
            similarities, *_ = history.cached(
                ("similarities", id(vectors), id(project), self.half_life),
                lambda: (self._similarities(history), vectors, project),
            )
            scores = similarities + np.float32(self.prior_weight) * self.prior[history.candidates]
        if self.co_purchase is not None:
            self._add_co_purchase(scores, history, self.co_purchase)
        return scores

    def _similarities(self, history: History) -> Scores:
        """Multiplies profiles and candidates, `(q, c)`."""
        vectors = self.item_vectors
        profiles, _ = history.cached(
            ("profiles", id(vectors), self.half_life),
            lambda: (history_vectors(history, vectors, half_life=self.half_life), vectors),
        )
        candidates, _ = history.cached(
            ("candidates", id(vectors)), lambda: (vectors[history.candidates], vectors)
        )
        if self.project is not None:
            profiles = self.project(profiles)
        similarities: Scores = profiles @ candidates.T
        return similarities

    def _add_co_purchase(
        self, scores: Scores, history: History, vectors: CoPurchaseVectors
    ) -> None:
        added, _ = history.cached(
            ("co-purchase", id(vectors), self.half_life),
            lambda: (
                vectors.scores(vectors.history_profiles(history, half_life=self.half_life)),
                vectors,
            ),
        )
        here = np.isin(vectors.head, history.candidates)
        scores[:, np.searchsorted(history.candidates, vectors.head[here])] += added[:, here]


def history_vectors(history: History, item_vectors: Floats, *, half_life: float) -> Floats:
    """Averages the item vectors of each user's events.

    Returns:
        Weighted means `(n, d)`, all items of the catalogue counted, candidates or not; 0 for a user
        without events.
    """
    events = history.events
    # From the latest event: a long silence would round all weights to 0.
    now = latest_times(events.user, events.time, len(history.now))[events.user]
    weights = profile_weights(events, now=now, half_life=half_life)
    shape = (len(history.now), len(item_vectors))
    summed = sp.coo_array((weights, (events.user, events.item)), shape=shape).tocsr()
    total = np.bincount(events.user, weights, minlength=shape[0])[:, None]
    sums = np.asarray(summed @ item_vectors, dtype=np.float32)
    return np.divide(sums, np.maximum(total, 1e-12), dtype=np.float32)


def unit_rows(vectors: Floats) -> Floats:
    """Scales rows to length 1; zero rows stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Floats = vectors / np.maximum(lengths, np.float32(1e-12))
    return scaled
