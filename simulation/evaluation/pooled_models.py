"""Recommenders of the upper bound, on all shops' users: whole EASE, and matrix factorisation."""

from __future__ import annotations

import copy
from typing import Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from client.recommenders.interface import Scores
from client.recommenders.queries import Form, History, Queries
from simulation.evaluation.ridge_inverse import fit_ridge


class EASE:
    """Linear item-to-item model with a zero diagonal (https://arxiv.org/abs/1905.03375).

    With `P = (X'X + l2 I)^-1` the weights are `B = I - P diag(1 / diag P)`, and a query `x` scores
    `x - xP / diag P`; `simulation.evaluation.ridge_inverse` inverts users by users or items by
    items, whichever are fewer.

    Attributes:
        l2: Ridge penalty.
        form: How histories become rows of `X`.
        half_life: Of an event in the rows, in the unit of `Events.time`.
    """

    def __init__(
        self,
        *,
        l2: float,
        form: Form,
        half_life: float,
    ) -> None:
        self.l2 = l2
        self.form: Form = form
        self.half_life = half_life

    def fit(self, history: History) -> Self:
        """Solves for all users of the history."""
        self._ridge = fit_ridge(history.sparse_rows(self.form, self.half_life), self.l2)
        return self

    def score(self, queries: Queries) -> Scores:
        """Predicts the candidates from the context, `(q, c)`."""
        x = queries.history.sparse_rows(self.form, self.half_life)
        scores: Scores = self._ridge.of(x)
        scores /= self._ridge.diagonal
        np.subtract(x.toarray(), scores, out=scores)
        return scores

    def restrict(self, columns: npt.NDArray[np.int64]) -> Self:
        """Returns the fitted model for some of its candidates only; weights do not change."""
        part = copy.copy(self)
        part._ridge = self._ridge.restrict(columns)
        return part


Factors = npt.NDArray[np.float32]
_USER_BLOCK = 1024


class ALS:
    """Implicit ALS (Hu, Koren and Volinsky, https://doi.org/10.1109/ICDM.2008.22).

    A row value `r > 0` is a preference of 1 with confidence `1 + alpha r`, an empty cell one of 0
    with confidence 1. Users and items take turns in the ridge regression
    `x_u = (Y'Y + alpha Y' diag(r_u) Y + l2 I)^-1 Y' (1 + alpha r_u)`, the last factor over the
    cells of `u`. A query is folded in as a new user would be.

    Attributes:
        factors: Width of user and item factors.
        l2: Ridge penalty.
        alpha: Confidence of a full row value.
        iterations: Turns of users and items.
        form: How histories become rows.
        half_life: Of an event in the rows, in the unit of `Events.time`.
        seed: Of the items' first factors.
    """

    def __init__(
        self,
        *,
        factors: int = 32,
        l2: float = 10.0,
        alpha: float = 10.0,
        iterations: int = 8,
        form: Form = "strongest",
        half_life: float,
        seed: int = 0,
    ) -> None:
        self.factors = factors
        self.l2 = l2
        self.alpha = alpha
        self.iterations = iterations
        self.form: Form = form
        self.half_life = half_life
        self.seed = seed

    def fit(self, history: History) -> Self:
        """Alternates between the users of the history and the candidates."""
        values = history.sparse_rows(self.form, self.half_life)
        by_item = sp.csr_array(values.T)
        rng = np.random.default_rng(self.seed)
        start = rng.normal(size=(values.shape[1], self.factors)) / np.sqrt(self.factors)
        items = start.astype(np.float32)
        for _ in range(self.iterations):
            users = self._solve(values, items)
            items = self._solve(by_item, users)
        self._items = items
        return self

    def score(self, queries: Queries) -> Scores:
        """Folds the contexts in and multiplies with the candidates' factors, `(q, c)`."""
        values = queries.history.sparse_rows(self.form, self.half_life)
        scores: Scores = self._solve(values, self._items) @ self._items.T
        return scores

    def restrict(self, columns: npt.NDArray[np.int64]) -> Self:
        """Returns the fitted model for some of its candidates only; a query knows no others."""
        part = copy.copy(self)
        part._items = self._items[columns]
        return part

    def _solve(self, values: sp.csr_array, fixed: Factors) -> Factors:
        """Returns the factors of the rows of `values` `(n, m)` from those of its columns."""
        d = fixed.shape[1]
        # Y'Y is shared by all rows, and only the upper triangle of each row's own part is summed.
        common = fixed.T @ fixed + np.float32(self.l2) * np.eye(d, dtype=np.float32)
        first, second = np.triu_indices(d)
        # Few users hold few of the columns, and the squares of all would be 2,000 numbers each.
        used = np.unique(values.indices)
        squares = fixed[used][:, first] * fixed[used][:, second]
        place = np.empty((d, d), dtype=np.intp)
        place[first, second] = place[second, first] = np.arange(len(first))
        solved = np.empty((values.shape[0], d), dtype=np.float32)
        for start in range(0, len(solved), _USER_BLOCK):
            part = values[start : start + _USER_BLOCK] * np.float32(self.alpha)
            left = common + (part[:, used] @ squares)[:, place]
            right = part @ fixed + (part > 0).astype(np.float32) @ fixed
            solved[start : start + _USER_BLOCK] = np.linalg.solve(left, right[:, :, None])[:, :, 0]
        return solved
