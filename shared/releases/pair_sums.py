"""Co-purchase pairs: which head items the same users take, as one sum over a shop's users.

Order of a run: every shop releases its noisy item counts; the `h` items of largest noisy count are
the head, which costs nothing more; every shop releases its noisy pair sums over that head.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from shared.errors import ConfigError, PrivacyError
from shared.interactions.events import Events
from shared.privacy.noise import GRID, Integers

Values = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]


def head_items(counts: npt.NDArray[np.floating], h: int) -> Codes:
    """Returns the codes of the `h` items of largest count, ascending; equal ones by code.

    Args:
        counts: Noisy counts of the whole catalogue, `(n_items,)`; never clean ones.
        h: Items of the head; all items where the catalogue is smaller.

    Raises:
        ConfigError: `h` is below 2, so that there is no pair.
    """
    if h < 2:
        raise ConfigError("must be at least 2", name="head_items", value=h, remedy="raise it")
    return np.sort(np.argsort(-counts, kind="stable")[:h]).astype(np.int32)


def check_head(head: npt.NDArray[np.integer], *, n_items: int, most: int) -> None:
    """Refuses a head that a shop was sent and that is none.

    Args:
        head: As received.
        n_items: Items of the public catalogue.
        most: Items that the plan allows.

    Raises:
        PrivacyError: It is empty, too long, not ascending, or not within the catalogue.
    """
    if head.ndim != 1 or head.dtype.kind != "i" or not 1 <= len(head) <= most:
        raise PrivacyError(
            f"head of shape {head.shape} and type {head.dtype} must be 1 to head_items={most} item "
            "codes",
            remedy="send the head that the plan allows",
        )
    if (np.diff(head) <= 0).any():
        raise PrivacyError(
            "head must be ascending without repetition", remedy="sort its item codes"
        )
    if head[0] < 0 or head[-1] >= n_items:
        raise PrivacyError(
            f"head from {head[0]} to {head[-1]} must be within the catalogue's {n_items} items",
            remedy="use the same catalogue",
        )


def n_pairs(h: int) -> int:
    """Number of pairs of `h` items."""
    return h * (h - 1) // 2


def pair_sums(events: Events, head: npt.NDArray[np.integer]) -> Values:
    """Returns `grid_pair_sums` in units of a user's norm, clean: `(h (h - 1) / 2,)`."""
    return grid_pair_sums(events, head) / GRID


def grid_pair_sums(events: Events, head: npt.NDArray[np.integer]) -> Integers:
    """Sums over the users the pairs of head items that each has taken, in steps of 1 / `GRID`.

    A user with `m` head items gives `1 / sqrt(m (m - 1) / 2)` to each of its pairs, cut towards
    zero to the grid: `isqrt(GRID^2 // pairs)`, so that the square norm is at most `GRID^2`.

    Args:
        events: Events of one shop, `user` codes from 0.
        head: Codes of the head items, ascending, `(h,)`; public or from paid counts.

    Returns:
        The upper triangle by rows, diagonal left out, `(h (h - 1) / 2,)`, int64.

    Guarantee:
        Adding or removing a user changes the sum by an L2 norm of at most `PAIRS_MAX_NORM * GRID`:
        with a discrete Gaussian of `grid_variance(sigma)` it is one Gaussian mechanism with noise
        multiplier sigma at user level.

    Assumes:
        `head` does not depend on the clean events of the shop.
    """
    x = _incidence(events, head)
    share = user_shares(np.diff(x.indptr) * (np.diff(x.indptr) - 1) // 2)
    sums = (x.multiply(share[:, None]).T @ x).toarray()
    values: Integers = sums[np.triu_indices(len(head), 1)].astype(np.int64, copy=False)
    return values


def user_shares(sizes: npt.NDArray[np.integer]) -> Integers:
    """Returns what each user gives to each of its `sizes` numbers: norm at most `GRID`, `(n,)`."""
    distinct, place = np.unique(np.maximum(sizes, 1), return_inverse=True)
    shares = [math.isqrt(GRID * GRID // int(size)) for size in distinct]
    return np.array(shares, dtype=np.int64)[place]


def user_sizes(events: Events, head: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Counts the head items of each user, `(n_users,)`; clean, so it stays in the shop."""
    return np.diff(_incidence(events, head).indptr).astype(np.int64)


def square(values: npt.NDArray[np.floating], h: int) -> Values:
    """Writes pairs `(h (h - 1) / 2,)` as a symmetric matrix `(h, h)` with diagonal 0."""
    if len(values) != n_pairs(h):
        raise ValueError(f"{len(values)} values must be {n_pairs(h)}, the pairs of {h} items")
    matrix = np.zeros((h, h))
    matrix[np.triu_indices(h, 1)] = values
    return matrix + matrix.T


def _incidence(events: Events, head: npt.NDArray[np.integer]) -> sp.csr_array:
    """Marks the head items of each user with 1, however often they were taken: `(n_users, h)`."""
    h = len(head)
    place = np.minimum(np.searchsorted(head, events.item), h - 1)
    inside = head[place] == events.item
    cells = np.unique(events.user[inside].astype(np.int64) * h + place[inside])
    n_users = int(events.user.max(initial=-1)) + 1
    ones = np.ones(len(cells), dtype=np.int64)
    return sp.csr_array((ones, (cells // h, cells % h)), shape=(n_users, h))
