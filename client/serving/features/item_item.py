"""Co-purchase: nearest neighbours and EASE, of this shop's users and with other shops'."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from client.recommenders.defaults import EASE_L2, N_NEIGHBOURS, SHRINK, VISIT_HALF_LIFE
from client.serving.features.interactions import Interactions
from client.serving.features.item_scores import SparseScores

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


MAX_EASE_ITEMS = 4000
"""Items among which EASE is solved, the most popular; the matrix that is inverted is this wide."""
MAX_ROW = 300
"""Items of one user that count, the latest: bounds the work that one user makes."""
_BLOCK = 256


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Weights from each item of a context to other items, in compressed rows by context item.

    Attributes:
        starts: Where each item's list begins, `(n_items + 1,)`.
        item: The other items, int32.
        value: Their weights, float32.
    """

    starts: npt.NDArray[np.int64]
    item: npt.NDArray[np.int32]
    value: Floats

    @staticmethod
    def none() -> Neighbours:
        """Returns neighbours of no item."""
        return Neighbours(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))

    @staticmethod
    def of(matrix: sp.csr_array) -> Neighbours:
        """Takes a sparse matrix with a row for each context item."""
        starts = matrix.indptr.astype(np.int64)
        return Neighbours(starts, matrix.indices.astype(np.int32), matrix.data.astype(np.float32))

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


def user_rows(
    interactions: Interactions, *, now: npt.NDArray[np.float64], half_life: float, n_items: int
) -> sp.csr_array:
    """Writes users as sparse rows over items: `log(1 + visits, each halved every half_life)`.

    Args:
        interactions: All users; those who changed since they were sorted are left out.
        now: Each user's moment, `(n_users,)`.
        half_life: In the unit of the events' time.
        n_items: Width.

    Returns:
        `(n_users, n_items)`.
    """
    columns = interactions.columns
    users = interactions.user_of_event
    # One user with a million events would fill a dense block of the Gram matrix alone.
    from_end = interactions.starts[1:][users] - np.arange(len(users))
    recent = (from_end <= MAX_ROW) & (columns.visit > 0)
    age = np.maximum(now[users[recent]] - columns.time[recent], 0.0)
    values = columns.visit[recent] * np.exp2(-age / half_life).astype(np.float32)
    place = (users[recent], columns.item[recent])
    rows = sp.coo_array((values, place), shape=(len(interactions), n_items)).tocsr()
    # coo -> csr has summed an item's visits, so that the logarithm is of their sum.
    rows.data = np.log1p(rows.data)
    return rows


def nearest_neighbours(rows: sp.csr_array) -> Neighbours:
    """Finds the nearest items by shrunk cosine, each item's `N_NEIGHBOURS` best; itself counts 1.

    Args:
        rows: Users over items, `(n_users, n_items)`.
    """
    n = rows.shape[1]
    squares = np.asarray(rows.multiply(rows).sum(axis=0)).ravel()
    # SHRINK in both norms: without it two items that one user took together have cosine 1.
    scale = 1.0 / np.sqrt(squares + SHRINK)
    scaled = rows.copy()
    scaled.data = rows.data * scale[rows.indices].astype(np.float32)
    columns = scaled.T.tocsr()
    parts = []
    # In blocks: the whole product of a large catalogue has more entries than the memory holds.
    for start in range(0, n, _BLOCK):
        block = (columns[start : start + _BLOCK] @ scaled).tocsr()
        parts.append(_largest_of_each(block, first=start))
    neighbours: Any = (
        sp.vstack(parts, format="csr") if parts else sp.csr_array((n, n), dtype=np.float32)
    )
    # A candidate keeps its own nearest; the context item must find those who keep it.
    return Neighbours.of(neighbours.T.tocsr())


def ease(rows: sp.csr_array, *, l2: float) -> Neighbours:
    """Solves EASE (https://arxiv.org/abs/1905.03375) and keeps each item's largest weights.

    Args:
        rows: Users over items, `(n_users, n_items)`.
        l2: Ridge penalty.
    """
    head = popular_items(rows)
    return solve_ease(gram_of(rows, head), head, l2=l2, n_items=rows.shape[1])


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


def gram_of(rows: sp.csr_array, head: npt.NDArray[np.int64]) -> Floats:
    """Multiplies the columns of the head with each other: `(h, h)`."""
    part = rows[:, head]
    gram: Floats = (part.T @ part).toarray().astype(np.float32)
    return gram


def solve_ease(gram: Floats, head: npt.NDArray[np.int64], *, l2: float, n_items: int) -> Neighbours:
    """Solves EASE for a Gram matrix and keeps each item's largest weights.

    Args:
        gram: Of the head, `(h, h)`; changed in place.
        head: Items, ascending, `(h,)`.
        l2: Ridge penalty.
        n_items: Of the whole item table.
    """
    gram[np.diag_indices_from(gram)] += np.float32(l2)
    # Closed form of EASE, equation 8 of the paper: B = -P / diag(P) by column, zero diagonal.
    inverse = torch.linalg.inv(torch.from_numpy(gram))
    weights = -inverse / inverse.diagonal()
    weights.fill_diagonal_(0.0)
    k = min(N_NEIGHBOURS, len(head))
    best = torch.topk(weights.abs(), k, dim=1).indices if k else torch.zeros((0, 0)).long()
    values = torch.gather(weights, 1, best).numpy()
    source = np.repeat(head, k)
    target = head[best.numpy().ravel()]
    shape = (n_items, n_items)
    matrix = sp.coo_array((values.ravel(), (source, target)), shape=shape).tocsr()
    return Neighbours.of(matrix)


def _largest_of_each(block: sp.csr_array, *, first: int) -> sp.csr_array:
    """Keeps the `N_NEIGHBOURS` largest of each row, with 1 in the place of the item itself."""
    indices, values, starts = [], [], [0]
    for row in range(block.shape[0]):
        part = slice(block.indptr[row], block.indptr[row + 1])
        item, value = block.indices[part], block.data[part].copy()
        value[item == first + row] = 1.0
        if len(item) > N_NEIGHBOURS:
            best = np.argpartition(-value, N_NEIGHBOURS)[:N_NEIGHBOURS]
            item, value = item[best], value[best]
        indices.append(item)
        values.append(value)
        starts.append(starts[-1] + len(item))
    joined = np.concatenate(values), np.concatenate(indices), np.array(starts)
    return sp.csr_array(joined, shape=block.shape)


@dataclass(frozen=True, eq=False)
class FederatedNeighbours:
    """EASE on the shop's own users and the pairs of others.

    Attributes:
        neighbours: Weights from each item of the context.
        known: Items that it knows, ascending.
    """

    neighbours: Neighbours = field(default_factory=Neighbours.none)
    known: Rows = field(default_factory=lambda: np.zeros(0, np.int64))

    def add_up(self, items: npt.NDArray[np.int32], values: Floats) -> SparseScores:
        """Scores items as `client.recommenders.federated_ease.FederatedEASE` does, less a constant.

        Items that it does not know have the mean of those that it knows, here 0, so that none
        falls for being new.
        """
        if not len(self.known):
            return SparseScores(self.known, np.zeros(0, np.float32))
        sparse = self.neighbours.add_up(items, values)
        scores = np.zeros(len(self.known), dtype=np.float32)
        scores[np.searchsorted(self.known, sparse.rows)] = sparse.values
        return SparseScores(self.known, scores - scores.mean())


def co_purchase(
    interactions: Interactions, *, n_items: int, now: float, time_unit: str
) -> tuple[Neighbours, Neighbours]:
    """Finds nearest neighbours and EASE of all events."""
    rows = interaction_rows(interactions, n_items=n_items, now=now, time_unit=time_unit)
    return nearest_neighbours(rows), ease(rows, l2=EASE_L2[time_unit])


def interaction_rows(
    interactions: Interactions, *, n_items: int, now: float, time_unit: str
) -> sp.csr_array:
    """Writes all users as rows, each at the shop's moment or at the user's next rank."""
    moment = np.full(len(interactions), now)
    if time_unit == "order" and len(interactions.columns):
        last = interactions.starts[1:] - 1
        moment = np.where(
            np.diff(interactions.starts) > 0, interactions.columns.time[last] + 1.0, 0.0
        )
    return user_rows(
        interactions, now=moment, half_life=VISIT_HALF_LIFE[time_unit], n_items=n_items
    )
