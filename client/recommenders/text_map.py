"""The shop's own map of texts, learned from its users and never leaving it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from client.recommenders.config import CONFIGS
from client.recommenders.profile import ProfileRecommender, unit_rows
from client.recommenders.queries import Floats, History
from client.training.examples import draw_examples
from client.training.losses import context_vectors

MAX_USERS, MAX_CANDIDATES = 4000, 16_000
"""Users and candidates that it learns from at most: bounds the time of a fit in a large shop."""
_MAX_CONTEXT = 64
"""Items of a context at most, in the examples."""


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
        half_life: float,
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

    @classmethod
    def of_unit(cls, item_vectors: Floats, time_unit: str) -> Self:
        """Builds it with the constants of a unit of time, "days" or "order"."""
        config = CONFIGS[time_unit]
        return cls(
            item_vectors,
            half_life=config.text_half_life,
            epochs=config.text_map_epochs,
            pairs=config.text_map_pairs,
            scale=config.text_map_scale,
        )

    def fit(self, history: History) -> Self:
        """Trains the map on the users of the history, or as many as `MAX_USERS` of them."""
        history = _popular_candidates(history)
        vectors, text = _distinct(self.item_vectors[history.candidates])
        items, texts = torch.from_numpy(vectors), torch.from_numpy(text)
        # In a softmax over all items those with one text are one term, times their number.
        log_times = torch.bincount(texts).log().to(items.dtype)
        change = torch.zeros(items.shape[1], items.shape[1], requires_grad=True)
        adam = torch.optim.Adam([change], lr=self.learning_rate, betas=(0.9, 0.99))
        for profiles, targets in self._batches(history):
            scores = self.scale * (profiles + profiles @ change) @ items.T + log_times
            adam.zero_grad()
            cross_entropy(scores, texts[targets]).backward()  # type: ignore[no-untyped-call]
            adam.step()
        self.map: Floats = change.detach().numpy() + np.eye(len(change), dtype=np.float32)
        return self

    def _mapped(self, profiles: Floats) -> Floats:
        mapped: Floats = unit_rows(profiles) @ self.map
        return mapped

    def _batches(self, history: History) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields unit profiles `(b, d)` and target columns `(b,)`, all examples once an epoch."""
        rng = np.random.default_rng(self.seed)
        history = _some_users(history, rng)
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
            unit_rows(context_vectors(examples, self.item_vectors)[is_candidate])
        )
        targets = torch.from_numpy(np.searchsorted(history.candidates, target[is_candidate]))
        for _ in range(self.epochs):
            order = rng.permutation(len(targets))
            for start in range(0, len(order), self.batch):
                rows = order[start : start + self.batch]
                yield profiles[rows], targets[rows]


def _distinct(vectors: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Returns the distinct rows in the order of their first, and which of them each row is."""
    _, first, group = np.unique(vectors, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return vectors[first[order]], place[group.reshape(-1)].astype(np.int64)


def _popular_candidates(history: History) -> History:
    if history.shape[1] <= MAX_CANDIDATES:
        return history
    most = np.argsort(-history.users_per_item, kind="stable")[:MAX_CANDIDATES]
    return replace(history, candidates=np.sort(history.candidates[most]))


def _some_users(history: History, rng: np.random.Generator) -> History:
    if history.shape[0] <= MAX_USERS:
        return history
    some = np.zeros(history.shape[0], dtype=np.bool_)
    some[rng.permutation(len(some))[:MAX_USERS]] = True
    return replace(history, events=history.events.select(some[history.events.user]), visit=None)
