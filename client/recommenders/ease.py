"""EASE on a shop's own users, and together with the co-purchase pairs of all other shops' users."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from client.recommenders.config import MAX_EASE_ITEMS, RowForm
from client.recommenders.interface import QueryContext, Scores
from client.recommenders.neighbour_model import NeighbourModel
from client.recommenders.queries import Floats, History, Queries
from client.recommenders.tables.item_scores import SparseScores
from client.recommenders.tables.neighbours import Neighbours, Rows
from client.recommenders.tables.pair_gram import PairGram

Doubles = npt.NDArray[np.float64]


class EASE(NeighbourModel):
    """Linear item-to-item model with a zero diagonal (https://arxiv.org/abs/1905.03375).

    With `P = (X'X + D)^-1`, `D = l2 I`, the weights are `B = I - P diag(1 / diag P)`, here of the
    `MAX_EASE_ITEMS` items of most users, and of each context item the largest by size alone.

    Attributes:
        l2: Ridge penalty.
        form: How histories become rows of `X`.
        half_life: Of an event in the rows, in the unit of `Events.time`.
    """

    def __init__(self, *, l2: float, form: RowForm, half_life: float) -> None:
        super().__init__(form=form, half_life=half_life)
        self.l2 = l2

    def fit(self, history: History) -> Self:
        """Solves for all users of the history."""
        # Once for each history: an evaluation's placebo is the same model again.
        key = ("ease", self.l2, self.form, self.half_life)
        self.neighbours = history.cached(key, lambda: self._solve(history))
        return self

    def _solve(self, history: History) -> Neighbours:
        rows = history.bounded.sparse_rows(self.form, self.half_life)
        head = popular_items(rows)
        weights = _item_weights(rows[:, head], self.l2)
        return Neighbours.strongest(weights, head, n_items=rows.shape[1])


class FederatedEASE(NeighbourModel):
    """EASE whose Gram matrix is `X'X + weight G`, with `G` from the pairs of other shops.

    Items that it does not know, from a user of the shop or from a pair, get the mean of the query's
    scores of those that it knows, here 0, so that no item falls for being new.

    Attributes:
        gram: Pairs of the other shops' users, by the codes of the history's candidates.
        weight: How much one of them counts against a user of the shop.
        l2: Ridge penalty.
        form: How histories become rows of `X`.
        half_life: Of an event in the rows, in the unit of `Events.time`.
        known: Rows of the items that it knows, ascending.
    """

    def __init__(
        self, gram: PairGram, *, weight: float, l2: float, form: RowForm, half_life: float
    ) -> None:
        super().__init__(form=form, half_life=half_life)
        self.gram = gram
        self.weight = weight
        self.l2 = l2
        self.known: Rows = np.zeros(0, np.int64)

    def fit(self, history: History) -> Self:
        """Solves for the users of the history and the pairs of its candidates."""
        rows = history.bounded.sparse_rows(self.form, self.half_life)
        here = np.isin(self.gram.head, history.candidates)
        place = np.searchsorted(history.candidates, self.gram.head[here])
        pairs = self.gram.matrix[np.ix_(here, here)]
        # Items that other shops sell together come first: this shop's users may know none of them.
        head = popular_items(rows, also=place[self.gram.matrix[here].any(axis=1)])
        inside = np.isin(place, head)
        block = self.weight * pairs[np.ix_(inside, inside)].astype(np.float64)
        block[np.diag_indices_from(block)] += self.l2
        places = np.searchsorted(head, place[inside])
        weights = _item_weights(rows[:, head], self.l2, places=places, block=block)
        self.known = head
        self.neighbours = Neighbours.strongest(weights, head, n_items=rows.shape[1])
        return self

    def score(self, queries: Queries) -> Scores:
        """Predicts the candidates from the context, `(q, c)`."""
        scores = super().score(queries)
        if len(self.known):
            unknown = np.ones(scores.shape[1], dtype=np.bool_)
            unknown[self.known] = False
            scores[:, unknown] = scores[:, self.known].mean(axis=1, keepdims=True)
        return scores

    def answer(self, context: QueryContext) -> SparseScores:
        """Predicts the same for one query, less the mean."""
        sparse = super().answer(context)
        if not len(self.known):
            return sparse
        scores = np.zeros(len(self.known), dtype=np.float32)
        scores[np.searchsorted(self.known, sparse.rows)] = sparse.values
        return SparseScores(self.known, scores - scores.mean())


def popular_items(
    rows: sp.csr_array, *, also: npt.NDArray[np.integer] | None = None
) -> npt.NDArray[np.int64]:
    """Returns the `MAX_EASE_ITEMS` items of most users, ascending, none without a user.

    Args:
        rows: Users over items, `(n_users, n_items)`.
        also: Items that come first, with or without a user.
    """
    users_of = np.bincount(rows.indices, minlength=rows.shape[1])
    if also is not None:
        users_of[also] += rows.shape[0] + 1
    head = np.sort(np.argsort(-users_of, kind="stable")[:MAX_EASE_ITEMS])
    return head[users_of[head] > 0]


def _item_weights(
    rows: sp.csr_array,
    l2: float,
    *,
    places: Rows | None = None,
    block: Doubles | None = None,
) -> Floats:
    """Returns `-P / diag P` with a zero diagonal for `P = (X'X + D)^-1`, `(h, h)`.

    Args:
        rows: `X`, users over the head, `(n, h)`.
        l2: What `D` has on its diagonal.
        places: Where `D` is `block` instead; None for nowhere.
        block: Positive definite, `(len(places), len(places))`.
    """
    n, h = rows.shape
    exact = rows.astype(np.float64)
    if n < h:
        precision = _precision_by_users(exact, l2, places, block)
    else:
        gram = (exact.T @ exact).toarray()
        gram[np.diag_indices(h)] += l2
        if places is not None and block is not None:
            gram[places, places] -= l2
            gram[np.ix_(places, places)] += block
        precision = np.linalg.inv(gram).astype(np.float32)
    precision /= -np.diagonal(precision)
    np.fill_diagonal(precision, 0.0)
    return precision


def _precision_by_users(
    rows: sp.csr_array, l2: float, places: Rows | None, block: Doubles | None
) -> Floats:
    """Inverts a matrix of users by users alone, as most shops have fewer users than items.

    Woodbury: `P = D^-1 - D^-1 X' (I + X D^-1 X')^-1 X D^-1`.
    """
    divided = rows.toarray() / l2
    inverse = None
    if places is not None and block is not None:
        inverse = np.linalg.inv(block)
        divided[:, places] = rows[:, places] @ inverse
    inner = rows @ divided.T
    inner[np.diag_indices_from(inner)] += 1.0
    solved = np.linalg.solve(inner, divided).astype(np.float32)
    precision: Floats = -(divided.T.astype(np.float32) @ solved)
    diagonal = np.full(rows.shape[1], 1.0 / l2, dtype=np.float32)
    if places is not None and inverse is not None:
        diagonal[places] = 0.0
        precision[np.ix_(places, places)] += inverse.astype(np.float32)
    precision[np.diag_indices_from(precision)] += diagonal
    return precision
