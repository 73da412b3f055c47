"""Tables of neighbours: what an item of the context says of other items, few numbers an item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from client.recommenders.config import N_NEIGHBOURS
from client.recommenders.tables.item_scores import SparseScores

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Weights from each item of a context to other items, in compressed rows by context item.

    Attributes:
        starts: Where each item's list begins, `(n_items + 1,)`.
        item: The other items, int32.
        value: Their weights, float32.
    """

    starts: Rows
    item: npt.NDArray[np.int32]
    value: Floats

    @staticmethod
    def none() -> Neighbours:
        """Returns neighbours of no item."""
        return Neighbours(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))

    @staticmethod
    def of(matrix: Any) -> Neighbours:
        """Takes a sparse matrix with a row for each context item."""
        starts = matrix.indptr.astype(np.int64)
        return Neighbours(starts, matrix.indices.astype(np.int32), matrix.data.astype(np.float32))

    @staticmethod
    def strongest(weights: Floats, head: Rows, *, n_items: int) -> Neighbours:
        """Keeps the largest weights, by size, of each context item.

        Args:
            weights: From context items (rows) to candidates, `(h, h)`.
            head: Their rows in the item table, ascending, `(h,)`.
            n_items: Of the whole item table.
        """
        k = min(N_NEIGHBOURS, len(head))
        whole = torch.from_numpy(weights)
        best = torch.topk(whole.abs(), k, dim=1).indices if k else torch.zeros((0, 0)).long()
        values = torch.gather(whole, 1, best).numpy()
        place = (np.repeat(head, k), head[best.numpy().ravel()])
        shape = (n_items, n_items)
        return Neighbours.of(sp.coo_array((values.ravel(), place), shape=shape).tocsr())

    def matrix(self, n_items: int) -> sp.csr_array:
        """Returns the table as a sparse matrix `(n_items, n_items)`; later items have nothing."""
        missing = n_items + 1 - len(self.starts)
        starts = np.concatenate([self.starts, np.full(missing, self.starts[-1])])
        return sp.csr_array((self.value, self.item, starts), shape=(n_items, n_items))

    def add_up(self, items: npt.NDArray[np.int32], values: Floats) -> SparseScores:
        """Adds up the neighbours of some items, weighed by `values`."""
        known = items < len(self.starts) - 1
        items, values = items[known], values[known]
        first, last = self.starts[items], self.starts[items + 1]
        parts = [slice(f, e) for f, e in zip(first.tolist(), last.tolist(), strict=True)]
        if not parts:
            return SparseScores(np.zeros(0, np.int32), np.zeros(0, np.float32))
        place = np.concatenate([self.item[part] for part in parts])
        value = np.concatenate([self.value[part] for part in parts])
        value *= np.repeat(values, last - first)
        sums = np.bincount(place, value)
        rows = np.flatnonzero(sums != 0)  # a mask is searched six times as fast as numbers
        return SparseScores(rows, sums[rows].astype(np.float32))

    def between(self, item: int, target: int) -> float:
        """Returns the weight from one item to another, 0 for none."""
        if item >= len(self.starts) - 1:
            return 0.0
        part = slice(self.starts[item], self.starts[item + 1])
        place = np.flatnonzero(self.item[part] == target)
        return float(self.value[part][place[0]]) if len(place) else 0.0

    def shares(self, items: npt.NDArray[np.int32], values: Floats, target: int) -> list[float]:
        """Returns what each item of a context adds to the score of another."""
        pairs = zip(items.tolist(), values.tolist(), strict=True)
        return [value * self.between(item, target) for item, value in pairs]
