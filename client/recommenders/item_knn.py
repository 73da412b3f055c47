"""Item-item nearest neighbours."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import scipy.sparse as sp

from client.recommenders.config import N_NEIGHBOURS, RowForm
from client.recommenders.neighbour_model import NeighbourModel
from client.recommenders.queries import History
from client.recommenders.tables.neighbours import Neighbours

_BLOCK = 256


class ItemKNN(NeighbourModel):
    """Scores an item by its similarity to the items of the context.

    `s_ij = x_i . x_j / sqrt((|x_i|^2 + shrink) (|x_j|^2 + shrink))` over the items' columns in
    `History.rows`. An item counts its `N_NEIGHBOURS` nearest only, and itself with similarity 1
    (https://doi.org/10.1145/963770.963776).

    Attributes:
        shrink: Pulls similarities that rest on few users towards 0; above 0, in users.
        form: How histories become rows.
        half_life: Of an event in the rows, in the unit of `Events.time`.
    """

    def __init__(self, *, shrink: float, form: RowForm, half_life: float) -> None:
        super().__init__(form=form, half_life=half_life)
        self.shrink = shrink

    def fit(self, history: History) -> Self:
        """Finds the neighbours of all candidates, a block of items at a time."""
        rows, n = history.bounded.sparse_rows(self.form, self.half_life), history.shape[1]
        squares = np.bincount(rows.indices, np.square(rows.data), minlength=n)
        # `shrink` in both norms: without it two items that one user took together have cosine 1.
        scale = 1.0 / np.sqrt(squares + self.shrink)
        data = rows.data * scale[rows.indices].astype(np.float32)
        scaled = sp.csr_array((data, rows.indices, rows.indptr), shape=rows.shape)
        columns = scaled.T.tocsr()
        # In blocks: the whole product of a large catalogue has more entries than memory holds.
        parts = [
            _nearest(sp.csr_array(columns[start : start + _BLOCK] @ scaled), first=start)
            for start in range(0, n, _BLOCK)
        ]
        empty = sp.csr_array((n, n), dtype=np.float32)
        nearest: Any = sp.vstack(parts, format="csr") if parts else empty
        # A candidate keeps its own nearest; the context item must find those who keep it.
        self.neighbours = Neighbours.of(nearest.T.tocsr())
        return self


def _nearest(block: sp.csr_array, *, first: int) -> sp.csr_array:
    """Keeps the `N_NEIGHBOURS` largest of each row, with 1 in the place of the item itself."""
    indices, values, starts = [], [], [0]
    for row in range(block.shape[0]):
        part = slice(block.indptr[row], block.indptr[row + 1])
        item, value = block.indices[part], block.data[part].copy()
        value[item == first + row] = 1.0
        if len(item) > N_NEIGHBOURS:
            order = np.lexsort((item, -value))[:N_NEIGHBOURS]
            item, value = item[order], value[order]
        indices.append(item)
        values.append(value)
        starts.append(starts[-1] + len(item))
    joined = np.concatenate(values), np.concatenate(indices), np.array(starts)
    return sp.csr_array(joined, shape=block.shape)
