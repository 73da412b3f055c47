"""EASE on a shop's own users and on the co-purchase pairs of all other shops' users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from client.recommenders.history import Floats, Form, History
from client.recommenders.interface import Scores
from client.surfaces import Queries
from shared.releases.pairs import Codes, Values, square

DIAGONAL = 0.3
"""How often an item occurs, as a share of its pairs: what a pair matrix leaves out."""


@dataclass(frozen=True, eq=False)
class PairGram:
    """Gram matrix of users that nobody has, with the pairs of the other shops' users.

    Attributes:
        head: Codes of the head items, ascending, `(h,)`.
        matrix: Symmetric, positive semi-definite, `(h, h)`.
    """

    head: Codes
    matrix: Floats

    @staticmethod
    def of(head: Codes, pairs: Values, own: Values | None = None) -> PairGram:
        """Makes the nearest Gram matrix of estimated pairs.

        Args:
            head: Codes of the head items, ascending, `(h,)`.
            pairs: Estimate for all shops together, `(h (h - 1) / 2,)`.
            own: The shop's own clean part, from the same events that it released: it has these
                users anyway. None for a shop that released nothing.

        Returns:
            The pairs with `DIAGONAL` times their row sums on the diagonal, without the negative
            eigenvalues that no users can have.
        """
        others = pairs if own is None else np.maximum(pairs - own, 0.0)
        gram = square(others, len(head))
        gram[np.diag_indices_from(gram)] = DIAGONAL * gram.sum(axis=0)
        values, axes = np.linalg.eigh(gram)
        kept = values > 0
        matrix: Floats = ((axes[:, kept] * values[kept]) @ axes[:, kept].T).astype(np.float32)
        return PairGram(head, matrix)


class PairsEASE:
    """EASE whose Gram matrix is `X'X + weight G`, with `G` from the pairs of other shops.

    `G` is 0 outside the head, so with `D = weight G + l2 I`, of which only the head's block has to
    be inverted, and the shop's few users, Woodbury gives
    `P = (X'X + D)^-1 = D^-1 - D^-1 X' (I + X D^-1 X')^-1 X D^-1`, and a query `x` scores
    `x - xP / diag P` (https://arxiv.org/abs/1905.03375).

    Candidates that neither a user of the shop nor a pair has are unknown to it: it gives them the
    mean of the query's scores, so that no item falls for being new.

    Attributes:
        gram: Pairs of the other shops' users.
        weight: How much one of them counts against a user of the shop.
        l2: Ridge penalty.
        form: How histories become rows of `X`.
        half_life: Of an event in the rows, in the unit of `Events.time`.
    """

    def __init__(
        self,
        gram: PairGram,
        *,
        weight: float = 1.5,
        l2: float = 10.0,
        form: Form = "last",
        half_life: float = 120.0,
    ) -> None:
        self.gram = gram
        self.weight = weight
        self.l2 = l2
        self.form: Form = form
        self.half_life = half_life

    def fit(self, history: History) -> Self:
        """Solves for the users of the history and the pairs of its candidates."""
        x = history.rows(self.form, self.half_life)
        here = np.isin(self.gram.head, history.candidates)
        self._head = np.searchsorted(history.candidates, self.gram.head[here])
        block = self.weight * self.gram.matrix[np.ix_(here, here)].astype(np.float64)
        block[np.diag_indices_from(block)] += self.l2
        self._inverse: Floats = np.linalg.inv(block).astype(np.float32)
        self._x = self._divide(x)
        inner = (self._x @ x.T).astype(np.float64)
        inner[np.diag_indices_from(inner)] += 1.0
        self._mx: Floats = np.linalg.inv(inner).astype(np.float32) @ self._x
        diagonal = np.full(x.shape[1], 1.0 / self.l2, dtype=np.float32)
        diagonal[self._head] = np.diagonal(self._inverse)
        diagonal -= np.einsum("nc,nc->c", self._x, self._mx)
        self._diagonal: Floats = np.maximum(diagonal, np.float32(1e-6 / self.l2))
        self._unknown = ~x.any(axis=0)
        self._unknown[self._head] &= ~self.gram.matrix[here].any(axis=1)
        return self

    def score(self, queries: Queries) -> Scores:
        """Predicts the candidates from the context, `(q, c)`."""
        x = queries.history.rows(self.form, self.half_life)
        projected = self._divide(x) - (x @ self._x.T) @ self._mx
        scores: Scores = x - projected / self._diagonal
        if self._unknown.any() and not self._unknown.all():
            scores[:, self._unknown] = scores[:, ~self._unknown].mean(axis=1, keepdims=True)
        return scores

    def _divide(self, x: Floats) -> Floats:
        """Returns `x D^-1`, `(n, c)`."""
        divided: Floats = x / np.float32(self.l2)
        divided[:, self._head] = x[:, self._head] @ self._inverse
        return divided
