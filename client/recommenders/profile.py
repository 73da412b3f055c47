"""Recommendation by profile vectors: zero-shot text, federated model, the shop's own text map."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from client.recommenders.defaults import VISIT_HALF_LIFE
from client.recommenders.interface import Scores
from client.recommenders.queries import Floats, History, Queries
from client.training.examples import draw_examples
from client.training.losses import context_vectors
from shared.model.profile_space import profile_weights

Project = Callable[[Floats], Floats]
_MAX_CONTEXT = 64
"""Items of a context at most, in the examples of the text map."""


class ProfileRecommender:
    """Scores an item by the similarity of its vector to the user's projected history.

    `score = project(mean of the history's item vectors) . z_item + prior_weight * prior_item`, the
    mean weighted by event type, recency and quantity.

    Attributes:
        item_vectors: Vectors of the whole catalogue, `(n_items, d)`.
        project: Maps mean history vectors `(q, d)` to profile vectors `(q, d)`; None leaves them:
            zero-shot text.
        prior: What is added to an item's score, `(n_items,)`; None for nothing.
        half_life: Of an event in the profile, in the unit of `Events.time`.
        prior_weight: Factor on `prior`.
    """

    def __init__(
        self,
        item_vectors: Floats,
        project: Project | None = None,
        prior: Floats | None = None,
        *,
        half_life: float = VISIT_HALF_LIFE["days"],
        prior_weight: float = 1.0,
    ) -> None:
        self.item_vectors = item_vectors
        self.project = project
        self.prior = prior
        self.half_life = half_life
        self.prior_weight = prior_weight

    def fit(self, history: History) -> Self:
        """Has nothing to learn: the vectors come from outside."""
        del history
        return self

    def score(self, queries: Queries) -> Scores:
        """Compares profiles and candidates, `(q, c)`."""
        history, vectors = queries.history, self.item_vectors
        # The vectors are cached too: freed, another array could get their id and so their profiles.
        profiles, _ = history.cached(
            ("profiles", id(vectors), self.half_life),
            lambda: (history_vectors(history, vectors, half_life=self.half_life), vectors),
        )
        candidates, _ = history.cached(
            ("candidates", id(vectors)), lambda: (vectors[history.candidates], vectors)
        )
        if self.project is not None:
            profiles = self.project(profiles)
        scores: Scores = profiles @ candidates.T
        if self.prior is not None:
            scores += np.float32(self.prior_weight) * self.prior[history.candidates]
        return scores


def history_vectors(history: History, item_vectors: Floats, *, half_life: float) -> Floats:
    """Averages the item vectors of each user's events.

    Returns:
        Weighted means `(n, d)`, all items of the catalogue counted, candidates or not; 0 for a user
        without events.
    """
    events = history.events
    now = history.now[events.user]
    weights = profile_weights(events, now=now, half_life=half_life)
    shape = (len(history.now), len(item_vectors))
    summed = sp.coo_array((weights, (events.user, events.item)), shape=shape).tocsr()
    total = np.bincount(events.user, weights, minlength=shape[0])[:, None]
    sums = np.asarray(summed @ item_vectors, dtype=np.float32)
    return np.divide(sums, np.maximum(total, 1e-12), dtype=np.float32)


class TextMap(ProfileRecommender):
    """Scores `normal(mean history vector) W . z_item` with a square map `W` learned by the shop.

    `W = I + dW` minimises the cross-entropy of what a user took next, or of the other half of its
    baskets, among all candidates, by a few epochs of Adam. It is the control for every federated
    text model, and needs no noise because it never leaves the shop. Without anything to learn from
    it is zero-shot text.

    Attributes:
        item_vectors: Vectors of the whole catalogue, `(n_items, d)`.
        half_life: Of an event in the profile, in the unit of `Events.time`.
        epochs: Passes over the examples.
        learning_rate: Of Adam.
        scale: Factor on similarities inside the softmax.
        pairs: Examples drawn from each user.
        batch: Examples in one step.
        seed: Draws and shuffles the examples.
    """

    def __init__(
        self,
        item_vectors: Floats,
        *,
        half_life: float = VISIT_HALF_LIFE["days"],
        epochs: int = 3,
        learning_rate: float = 0.003,
        scale: float = 10.0,
        pairs: int = 16,
        batch: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__(item_vectors, self._mapped, half_life=half_life)
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.scale = scale
        self.pairs = pairs
        self.batch = batch
        self.seed = seed

    def fit(self, history: History) -> Self:
        """Trains the map on all users of the history."""
        items = torch.from_numpy(self.item_vectors[history.candidates])
        change = torch.zeros(items.shape[1], items.shape[1], requires_grad=True)
        adam = torch.optim.Adam([change], lr=self.learning_rate, betas=(0.9, 0.99))
        for profiles, targets in self._batches(history):
            scores = self.scale * (profiles + profiles @ change) @ items.T
            adam.zero_grad()
            cross_entropy(scores, targets).backward()  # type: ignore[no-untyped-call]
            adam.step()
        self._map: Floats = change.detach().numpy() + np.eye(len(change), dtype=np.float32)
        return self

    def _mapped(self, profiles: Floats) -> Floats:
        mapped: Floats = _unit(profiles) @ self._map
        return mapped

    def _batches(self, history: History) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields unit profiles `(b, d)` and target columns `(b,)`, all examples once an epoch."""
        rng = np.random.default_rng(self.seed)
        examples = draw_examples(
            history.events,
            len(history.now),
            n_pairs=self.pairs,
            max_context=_MAX_CONTEXT,
            max_targets=1,
            half_life=self.half_life,
            rng=rng,
        )
        target = examples.target[:, :, 0]
        is_candidate = np.isin(target, history.candidates)
        profiles = torch.from_numpy(
            _unit(context_vectors(examples, self.item_vectors)[is_candidate])
        )
        targets = torch.from_numpy(np.searchsorted(history.candidates, target[is_candidate]))
        for _ in range(self.epochs):
            order = rng.permutation(len(targets))
            for start in range(0, len(order), self.batch):
                rows = order[start : start + self.batch]
                yield profiles[rows], targets[rows]


def _unit(vectors: Floats) -> Floats:
    """Scales rows to length 1; zero rows stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Floats = vectors / np.maximum(lengths, np.float32(1e-12))
    return scaled
