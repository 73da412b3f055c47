"""EASE, solved over users instead of items."""

from __future__ import annotations

import copy
from typing import Self

import numpy as np
import numpy.typing as npt

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
        x = history.rows(self.form, self.half_life)
        gram = (x @ x.T).astype(np.float64)
        gram[np.diag_indices_from(gram)] += self.l2
        self._x = x
        inverse: Scores = np.linalg.inv(gram).astype(np.float32)
        self._mx: Scores = np.matmul(inverse, x)
        weighed: Scores = np.einsum("nc,nc->c", x, self._mx)
        self._rest: Scores = np.maximum(1.0 - weighed, 1e-6, dtype=np.float32)
        return self

    def score(self, queries: Queries) -> Scores:
        """Predicts the candidates from the context, `(q, c)`."""
        x = queries.history.rows(self.form, self.half_life)
        projected: Scores = np.matmul(x @ self._x.T, self._mx)
        scores: Scores = x - (x - projected) / self._rest
        return scores

    def restrict(self, columns: npt.NDArray[np.int64]) -> Self:
        """Returns the fitted model for some of its candidates only; weights do not change."""
        part = copy.copy(self)
        part._x, part._mx = self._x.take(columns, axis=1), self._mx.take(columns, axis=1)
        part._rest = self._rest[columns]
        return part
