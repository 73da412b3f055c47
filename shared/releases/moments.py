"""Moments of one shop: what each user adds to sums of features and labels of uses, bounded.

A user's rows of one use are averaged, so that a user counts once however often it was asked about,
and its blocks for all uses together have norm 1 at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from shared.privacy.noise import GRID, Integers
from shared.uses.history import Floats
from shared.uses.interface import Examples

_BELOW_ONE = 1 - 2.0**-40
"""Keeps rounding of a norm in floating point from lifting a whole number above the bound."""


COUNT = 0.3
"""What a user gives to the count of users: less of its norm than to what tells it apart."""


def label_block(examples: Examples, target: Floats, *, n_users: int, centre: float) -> Floats:
    """Returns each user's `[COUNT, mean of (target - centre) x]`, `(n_users, 1 + d)`.

    Args:
        examples: Of one use; the unit is the user.
        target: What is learned of each example, `(n,)`.
        n_users: Users of the shop.
        centre: Public guess of the target's mean.
    """
    rows = (target - centre)[:, None] * examples.table.features
    return _user_means(np.column_stack([np.full(len(rows), COUNT), rows]), examples, n_users)


def grid_user_moments(blocks: Sequence[Floats], bounds: Sequence[float]) -> Integers:
    """Sums users' blocks in steps of 1 / `GRID`, `(sum of the blocks' widths,)`.

    Args:
        blocks: One a use, `(n_users, width)` each.
        bounds: Public norm to which each use's block of a user is cut.

    Guarantee:
        Adding or removing a user changes the sum by an L2 norm of at most `GRID`: each of `K`
        blocks is cut to the norm `GRID / sqrt(K)` and then, in each number, towards zero.
    """
    parts = []
    for block, bound in zip(blocks, bounds, strict=True):
        norms = np.linalg.norm(block, axis=1, keepdims=True)
        unit = block / np.maximum(norms, bound)
        share = GRID / math.sqrt(len(blocks)) * _BELOW_ONE
        parts.append(np.trunc(unit * share).astype(np.int64).sum(axis=0))
    return np.concatenate(parts)


def user_blocks(sums: Floats, widths: Sequence[int], bounds: Sequence[float]) -> list[Floats]:
    """Returns each use's sum in its own units, from sums in steps of 1 / `GRID`."""
    ends = np.cumsum([0, *widths])
    scale = math.sqrt(len(widths)) / GRID
    return [
        sums[start:end] * scale * bound
        for start, end, bound in zip(ends[:-1], ends[1:], bounds, strict=True)
    ]


def _user_means(rows: Floats, examples: Examples, n_users: int) -> Floats:
    sums = np.zeros((n_users, rows.shape[1]))
    np.add.at(sums, examples.table.unit, rows)
    counts = np.bincount(examples.table.unit, minlength=n_users)
    return sums / np.maximum(counts, 1)[:, None]
