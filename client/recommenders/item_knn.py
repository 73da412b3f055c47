"""Item-based nearest neighbours with shrunk cosine."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.sparse as sp
import torch

from client.recommenders.history import Form, History
from client.recommenders.interface import Scores
from client.surfaces import Queries

_BLOCK = 256


class ItemKNN:
    """Scores an item by its similarity to the items of the context.

    `s_ij = x_i . x_j / sqrt((|x_i|^2 + shrink) (|x_j|^2 + shrink))` over the items' columns in
    `History.rows`. An item counts its `k` nearest only (of equal ones, any), and itself with
    similarity 1 (https://doi.org/10.1145/963770.963776).

    Attributes:
        k: Neighbours of an item.
        shrink: Pulls similarities that rest on few users towards 0; above 0, in users.
        form: How histories become rows.
        half_life: Of an event in the rows, in the unit of `Events.time`.
    """

    def __init__(
        self,
        *,
        k: int = 200,
        shrink: float = 20.0,
        form: Form = "binary",
        half_life: float = np.inf,
    ) -> None:
        self.k = k
        self.shrink = shrink
        self.form: Form = form
        self.half_life = half_life

    def fit(self, history: History) -> Self:
        """Finds the neighbours of all candidates, a block of items at a time."""
        x = history.rows(self.form, self.half_life)
        c = x.shape[1]
        k = min(self.k, c)
        near, columns = np.empty((c, k), np.float32), np.empty((c, k), np.int32)
        scaled = x / np.sqrt(np.einsum("nc,nc->c", x, x) + np.float32(self.shrink))
        for start in range(0, c, _BLOCK):
            block = slice(start, min(start + _BLOCK, c))
            similar = scaled[:, block].T @ scaled
            rows = np.arange(len(similar))
            similar[rows, rows + start] = 1.0
            # NumPy's partition takes time quadratic in the ties of such sparse rows.
            best = torch.topk(torch.from_numpy(similar), k, sorted=False)
            near[block], columns[block] = best.values.numpy(), best.indices.numpy()
        starts = np.arange(0, c * k + 1, max(k, 1))
        self._near = sp.csr_array((near.ravel(), columns.ravel(), starts), shape=(c, c))
        return self

    def score(self, queries: Queries) -> Scores:
        """Sums over the context the similarities that the candidate keeps, `(q, c)`."""
        x = queries.history.rows(self.form, self.half_life)
        scores: Scores = np.ascontiguousarray((self._near @ x.T).T)
        return scores
