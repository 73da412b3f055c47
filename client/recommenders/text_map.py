"""A text map that the shop trains alone, on its own users and without noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from client.recommenders.history import Floats, History
from client.recommenders.profile import ProfileRecommender
from client.training.examples import draw_examples
from client.training.losses import context_vectors

_MAX_CONTEXT = 64


class TextMap(ProfileRecommender):
    """Scores `normal(mean history vector) W . z_item` with a square map `W` learned by the shop.

    `W = I + dW` minimises the cross-entropy of what a user took next, or of the other half of its
    baskets, among all candidates, by a few epochs of Adam. It is the control for every federated
    text model, and needs no noise because it never leaves the shop. Where there is nothing to learn
    from it is zero-shot text.

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
        half_life: float = 120.0,
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
        asked = np.isin(target, history.candidates)
        profiles = torch.from_numpy(_unit(context_vectors(examples, self.item_vectors)[asked]))
        targets = torch.from_numpy(np.searchsorted(history.candidates, target[asked]))
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
