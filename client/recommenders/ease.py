"""EASE, solved over users instead of items."""

from __future__ import annotations

import copy
from typing import Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from client.recommenders.history import Form, History
from client.recommenders.interface import Scores
from client.surfaces import Queries


class EASE:
    """Linear item-to-item model with a zero diagonal (https://arxiv.org/abs/1905.03375).

    With `P = (X'X + l2 I)^-1` the weights are `B = I - P diag(1 / diag P)`. A shop has far fewer
    users than items, so with `M = (XX' + l2 I)^-1`, users by users, Woodbury gives
    `P = (I - X'MX) / l2`: no items x items matrix is ever built, and a query `x` scores
    `x - (x - xX'MX) / (1 - diag X'MX)`.

    Attributes:
        l2: Ridge penalty.
        form: How histories become rows of `X`.
        half_life: Of an event in the rows, in the unit of `Events.time`.
    """

    def __init__(self, *, l2: float = 100.0, form: Form = "last", half_life: float = 120.0) -> None:
        self.l2 = l2
        self.form: Form = form
        self.half_life = half_life

    def fit(self, history: History) -> Self:
        """Solves for all users of the history."""
        self._x = history.sparse_rows(self.form, self.half_life)
        exact = self._x.astype(np.float64)
        gram = (exact @ exact.T).toarray()
        gram[np.diag_indices_from(gram)] += self.l2
        inverse: Scores = np.linalg.inv(gram).astype(np.float32)
        columns = self._x.T.tocsr()
        self._xm: Scores = columns @ inverse
        weighed = _row_sums(columns, self._xm)
        self._rest: Scores = np.maximum(1.0 - weighed, 1e-6, dtype=np.float32)
        return self

    def score(self, queries: Queries) -> Scores:
        """Predicts the candidates from the context, `(q, c)`."""
        sparse = queries.history.sparse_rows(self.form, self.half_life)
        x = sparse.toarray()
        near = (sparse @ self._x.T).toarray()
        projected: Scores = np.matmul(near, self._xm.T)
        scores: Scores = x - (x - projected) / self._rest
        return scores

    def restrict(self, columns: npt.NDArray[np.int64]) -> Self:
        """Returns the fitted model for some of its candidates only; weights do not change."""
        part = copy.copy(self)
        part._x, part._xm = self._x[:, columns], self._xm[columns]
        part._rest = self._rest[columns]
        return part


def _row_sums(sparse: sp.csr_array, dense: Scores) -> Scores:
    """Returns the row sums of the elementwise product of two matrices `(c, n)`, `(c,)`."""
    rows = np.repeat(np.arange(len(dense)), np.diff(sparse.indptr))
    sums = np.bincount(rows, sparse.data * dense[rows, sparse.indices], minlength=len(dense))
    return sums.astype(np.float32)
