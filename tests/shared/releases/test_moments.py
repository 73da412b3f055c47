from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.privacy.noise import GRID
from shared.releases.moments import grid_user_moments, label_block
from shared.uses.interface import Examples, Table

BOUNDS = [1.5, 2.0]


def examples(rows: list[tuple[int, int]], *, scale: float, seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    user = np.array([u for u, _ in rows], dtype=np.int64)
    label = np.array([y for _, y in rows], dtype=np.float64)
    x = np.column_stack([np.ones(len(rows)), rng.normal(size=(len(rows), 5)) * scale])
    none = np.zeros(len(rows), dtype=np.int64)
    return Examples(Table(user, none, x, np.zeros(len(rows)), none), label)


def total(rows: list[tuple[int, int]], scale: float, without: int | None = None) -> list[int]:
    both = examples(rows, scale=scale)
    if without is not None:
        both = both.select(both.table.unit != without)
    block = label_block(both, both.label, n_users=4, centre=0.3)
    return [int(v) for v in grid_user_moments([block, block[:, :3]], BOUNDS)]


some_rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(some_rows, st.sampled_from([1e-3, 1.0, 1e6]))
def test_one_user_moves_the_sum_by_at_most_the_grid(
    rows: list[tuple[int, int]], scale: float
) -> None:
    user = rows[0][0]
    moved = zip(total(rows, scale), total(rows, scale, without=user), strict=True)
    assert sum((a - b) ** 2 for a, b in moved) <= GRID * GRID


def test_a_user_with_much_to_give_uses_the_whole_grid() -> None:
    norm = sum(v * v for v in total([(0, 1)], 1e6))
    assert norm == pytest.approx(GRID * GRID, rel=1e-3)


def test_asking_a_user_often_gives_no_more_than_asking_once() -> None:
    once = examples([(0, 1)], scale=0.1)
    table = once.table
    often = Examples(
        Table(*(np.repeat(v, 9, axis=0) for v in list(vars(table).values())[:5])),
        np.repeat(once.label, 9),
    )
    blocks = [label_block(e, e.label, n_users=1, centre=0.3) for e in (once, often)]
    np.testing.assert_allclose(blocks[0], blocks[1])
