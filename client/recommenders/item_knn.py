"""Item-based nearest neighbours with shrunk cosine."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.sparse as sp

from client.recommenders.history import Floats, Form, History
from client.recommenders.interface import Scores
from client.surfaces import Queries

_BLOCK = 256


class ItemKNN:
    """Scores an item by its similarity to the items of the context.

    `s_ij = x_i . x_j / sqrt((|x_i|^2 + shrink) (|x_j|^2 + shrink))` over the items' columns in
    `History.rows`. An item counts its `k` nearest only (of equal ones, the first), and itself with
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
        scaled = x / np.sqrt(np.einsum("nc,nc->c", x, x) + np.float32(self.shrink))
        blocks = []
        for start in range(0, c, _BLOCK):
            similar = scaled[:, start : start + _BLOCK].T @ scaled
            rows = np.arange(len(similar))
            similar[rows, rows + start] = 1.0
            blocks.append(_only_largest(similar, self.k))
        near = sp.vstack(blocks) if blocks else sp.csr_array((c, c), dtype=np.float32)
        self._near = near.T.tocsr()
        return self

    def score(self, queries: Queries) -> Scores:
        """Sums over the context the similarities that the candidate keeps, `(q, c)`."""
        x = queries.history.sparse_rows(self.form, self.half_life)
        scores: Scores = sp.csr_array(x @ self._near).toarray()
        return scores


def _only_largest(values: Floats, k: int) -> sp.csr_array:
    """Keeps the `k` largest of each row that are above 0, of equal ones the first."""
    # Sorting whole rows is vectorised, finding the k-th value is not and suffers from ties.
    smallest = np.finfo(np.float32).tiny
    least = np.sort(values, axis=1)[:, -k] if values.shape[1] > k else np.zeros(len(values))
    kept = values >= np.maximum(least, smallest)[:, None]
    excess = kept.sum(axis=1) - k
    for row in np.flatnonzero(excess > 0):
        ties = np.flatnonzero(values[row] == least[row])
        kept[row, ties[-excess[row] :]] = False
    cells = np.flatnonzero(kept)
    ends = np.r_[0, np.cumsum(kept.sum(axis=1))]
    return sp.csr_array((values.ravel()[cells], cells % values.shape[1], ends), values.shape)
