"""The text map's softmax over distinct texts is the one over all items."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from client.recommenders.text_map import TextMap
from tests.client.recommenders.small_shops import history_before, item_vectors, shop_events


class NaiveTextMap(TextMap):
    """Scores every item by itself."""

    def naive(self, history) -> np.ndarray:  # type: ignore[no-untyped-def]
        items = torch.from_numpy(self.item_vectors[history.candidates])
        change = torch.zeros(items.shape[1], items.shape[1], requires_grad=True)
        adam = torch.optim.Adam([change], lr=self.learning_rate, betas=(0.9, 0.99))
        for profiles, targets in self._batches(history):
            scores = self.scale * (profiles + profiles @ change) @ items.T
            adam.zero_grad()
            cross_entropy(scores, targets).backward()
            adam.step()
        return change.detach().numpy() + np.eye(len(change), dtype=np.float32)


def test_items_of_one_text_are_one_term_as_often_as_there_are_items() -> None:
    history = history_before(shop_events(1), 72.0)
    vectors = item_vectors()
    vectors = vectors[np.arange(len(vectors)) // 4 * 4]  # four items a text
    model = NaiveTextMap(vectors, half_life=30.0, epochs=2, pairs=4).fit(history)
    assert len(np.unique(vectors[history.candidates], axis=0)) < len(history.candidates)
    assert model.map == pytest.approx(model.naive(history), abs=1e-4)
