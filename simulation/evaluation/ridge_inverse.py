"""The matrix `(X'X + l2 I)^-1` of ridge models, by users or by items, whichever are fewer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.linalg import lapack

from client.recommenders.queries import Floats

LARGEST = 20_480
"""Rows of an item-item matrix at most, 1.7 GB: of a longer catalogue the items of most users."""
BYTES_PER_CELL = 8
"""Of a matrix while it is inverted; half of it remains."""
MOST_BYTES = 3e9
"""Of two matrices that are inverted side by side; larger ones follow each other."""
_BLOCK = 256
Exact = npt.NDArray[np.float64]


def invert_in_place(n: int, fill: Callable[[Exact], None]) -> Floats:
    """Inverts a positive definite matrix in the memory of that matrix alone.

    Args:
        n: Rows.
        fill: Writes the matrix into zeros `(n, n)`; only `matrix[i, j]` with `j >= i` is read.

    Returns:
        The inverse `(n, n)`, computed in float64 by Cholesky's factors and rounded to float32: in
        float32 it would lose the small differences that a linear model's weights consist of.

    Raises:
        ValueError: The matrix is not positive definite.
    """
    memory = np.zeros(n * n)
    if n:
        _invert(memory.reshape(n, n), fill)
        _round(memory, n)
        # Nobody else refers to it; the half that is not needed goes back to the system.
        memory.resize((n * n + 1) // 2, refcheck=False)
    return memory.view(np.float32)[: n * n].reshape(n, n)


def _invert(exact: Exact, fill: Callable[[Exact], None]) -> None:
    """Replaces the upper triangle by that of the inverse."""
    fill(exact)
    # LAPACK's lower triangle by columns is the upper one by rows, so nothing is copied.
    factor, failed = lapack.dpotrf(exact.T, lower=1, overwrite_a=1, clean=0)
    if not failed:
        _, failed = lapack.dpotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise ValueError(f"matrix ({len(exact)}, {len(exact)}) is not positive definite")


def _round(memory: Exact, n: int) -> None:
    """Writes the whole matrix in float32 into the first half of the memory of its triangle."""
    exact, rounded = memory.reshape(n, n), memory.view(np.float32)[: n * n].reshape(n, n)
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        # A copy first: the rounded rows lie where earlier exact rows and, at first, these lay.
        rows = exact[start:stop, start:].astype(np.float32)
        square = np.triu(rows[:, : stop - start])
        rows[:, : stop - start] = square + np.triu(square, 1).T
        rounded[start:stop, start:] = rows
        rounded[start:stop, :start] = rounded[:start, start:stop].T


def matrix_side(users: int, items: int, *, largest: int = LARGEST) -> int:
    """Returns how many rows the matrix has that `fit_ridge` inverts."""
    return min(users, items, largest)


def fit_side_by_side(side: int) -> bool:
    """Says whether two matrices with so many rows may be inverted at once."""
    return 2 * BYTES_PER_CELL * side**2 <= MOST_BYTES


class RidgeResidual(Protocol):
    """Products with `Q = l2 (X'X + l2 I)^-1`, of which ridge models consist."""

    diagonal: Floats
    """Of `Q`, `(c,)`, above 0."""

    def of(self, rows: sp.csr_array) -> Floats:
        """Returns `rows Q`, `(b, c)`."""
        ...

    def restrict(self, columns: npt.NDArray[np.int64]) -> RidgeResidual:
        """Returns the same for some of the items; rows have no others."""
        ...


def fit_ridge(x: sp.csr_array, l2: float, *, largest: int = LARGEST) -> RidgeResidual:
    """Inverts by users or by items, whichever are fewer.

    Args:
        x: Rows of users `(n, c)`.
        l2: Ridge penalty.
        largest: Rows of the matrix at most; where both users and items are more, only the items
            of most users are learned of, and the others get a score of 0 from it.
    """
    n, c = x.shape
    if n <= min(c, largest):
        return ByUsers(x, l2)
    items = most_taken(x, largest)
    columns = x[:, items].T.tocsr()
    return ByItems(c, items, lambda exact: write_gram(columns, l2, exact), l2)


def most_taken(x: sp.csr_array, largest: int) -> npt.NDArray[np.int64]:
    """Returns the columns of most users, ascending; of equal ones the first."""
    users = np.bincount(x.indices, minlength=x.shape[1])
    return np.sort(np.argsort(-users, kind="stable")[:largest]).astype(np.int64)


def write_gram(rows: sp.csr_array, l2: float, exact: Exact) -> None:
    """Writes `rows rows' + l2 I` into zeros `(n, n)`, a block of rows at a time."""
    values = rows.astype(np.float64)
    columns = values.T.tocsr()
    for start in range(0, len(exact), _BLOCK):
        exact[start : start + _BLOCK] = (values[start : start + _BLOCK] @ columns).toarray()
    exact.flat[:: len(exact) + 1] += l2


def column_products(columns: sp.csr_array, matrix: Floats) -> Floats:
    """Returns `x_j' M x_j` of each column of `X`, `(c,)`.

    Args:
        columns: `X'`, `(c, n)`.
        matrix: `M`, `(n, n)`.
    """
    products = np.empty(columns.shape[0], dtype=np.float32)
    for start in range(0, len(products), _BLOCK):
        part = columns[start : start + _BLOCK]
        dense = part @ matrix
        row = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
        sums = np.bincount(row, part.data * dense[row, part.indices], minlength=part.shape[0])
        products[start : start + _BLOCK] = sums
    return products


def times(dense: Floats, columns: sp.csr_array) -> Floats:
    """Returns `dense X` `(b, c)` from `X'` `(c, n)`, both ways in the order of memory."""
    return np.ascontiguousarray((columns @ np.ascontiguousarray(dense.T)).T)


class ByUsers:
    """`Q = I - X'MX` with `M = (XX' + l2 I)^-1`, users by users, by Woodbury's identity.

    Args:
        x: Rows of users `(n, c)`.
        l2: Ridge penalty.
    """

    def __init__(self, x: sp.csr_array, l2: float) -> None:
        self._inverse = invert_in_place(x.shape[0], lambda exact: write_gram(x, l2, exact))
        self._columns = x.T.tocsr()
        # Above 0, but rounding to float32 may pass 0.
        taken = 1.0 - column_products(self._columns, self._inverse)
        self.diagonal: Floats = np.maximum(taken, 1e-6, dtype=np.float32)

    def of(self, rows: sp.csr_array) -> Floats:
        """Returns `rows Q`, `(b, c)`."""
        near = (rows @ self._columns).toarray()
        residual: Floats = rows.toarray() - times(near @ self._inverse, self._columns)
        return residual

    def restrict(self, columns: npt.NDArray[np.int64]) -> Self:
        """Returns the same for some of the items; rows have no others."""
        part = object.__new__(type(self))
        part._inverse, part._columns = self._inverse, self._columns[columns]
        part.diagonal = self.diagonal[columns]
        return part


class ByItems:
    """`Q` itself, items by items.

    Args:
        c: Items.
        items: Those that it learns of, ascending `(m,)`; of the others it says that nobody took
            them.
        fill: Writes `X'X + l2 I` of these items into zeros `(m, m)`.
        l2: Ridge penalty.
    """

    def __init__(
        self, c: int, items: npt.NDArray[np.int64], fill: Callable[[Exact], None], l2: float
    ) -> None:
        self._q = invert_in_place(len(items), fill)
        self._q *= np.float32(l2)
        self._place = np.full(c, -1, dtype=np.int64)
        self._place[items] = np.arange(len(items))
        self.diagonal: Floats = np.ones(c, dtype=np.float32)
        self.diagonal[items] = np.maximum(np.diagonal(self._q), 1e-6, dtype=np.float32)

    def of(self, rows: sp.csr_array) -> Floats:
        """Returns `rows Q`, `(b, c)`."""
        inside = self._place >= 0
        place = self._place[rows.indices]
        row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        known = place >= 0
        cells = (rows.data[known], (row[known], place[known]))
        moved = sp.csr_array(cells, shape=(rows.shape[0], len(self._q)))
        product: Floats = moved @ self._q
        if len(self._place) == len(self._q) and inside.all():
            return product
        residual = rows.toarray()
        residual[:, inside] = product[:, self._place[inside]]
        return residual

    def restrict(self, columns: npt.NDArray[np.int64]) -> Self:
        """Returns the same for some of the items; rows have no others. Shares the matrix."""
        part = object.__new__(type(self))
        part._q, part._place = self._q, self._place[columns]
        part.diagonal = self.diagonal[columns]
        return part
