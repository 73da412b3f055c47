"""What becomes of a ranking after its scores: bounds on groups, and diversity."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.serving.ranking.ranker import Ranking, cap_groups, diversify

Groups = list[int]


def ranking_of(scores: list[float]) -> Ranking:
    values = np.array(scores, np.float32)
    return Ranking(np.arange(len(values)) + 100, values, values[:, None])


def descending(n: int) -> Ranking:
    return ranking_of([float(n - place) for place in range(n)])


def test_a_group_is_capped_and_items_without_a_group_are_not() -> None:
    groups = np.array([0, -1, 0, 1, -1, 0, -1, -1, 1], np.int32)
    capped = cap_groups(descending(9), groups, 1)
    assert capped.items.tolist() == [100, 101, 103, 104, 106, 107]
    assert capped.scores.tolist() == [9, 8, 6, 5, 3, 2]
    assert cap_groups(descending(9), groups, 2).items.tolist() == [
        *(100, 101, 102, 103, 104, 106, 107, 108)
    ]


@given(st.lists(st.integers(-1, 3), max_size=30), st.integers(1, 4))
def test_no_bound_holds_for_items_without_a_group(groups: Groups, most: int) -> None:
    capped = cap_groups(descending(len(groups)), np.array(groups, np.int32), most)
    left = Counter(groups[item - 100] for item in capped.items.tolist())
    expected = {group: min(n, most) if group >= 0 else n for group, n in Counter(groups).items()}
    assert left == expected
    assert (np.diff(capped.items) > 0).all()  # the order of the ranking


def test_no_diversity_keeps_the_ranking() -> None:
    vectors = np.eye(4, dtype=np.float32)
    assert diversify(descending(4), vectors, n=3, diversity=0.0).items.tolist() == [100, 101, 102]


@pytest.mark.parametrize(
    ("diversity", "expected"),
    [
        # Likeness to 0 is (1, 1, 0, 0), relevance (1, 2/3, 1/3, 0); it counts 1 - diversity.
        (0.2, [0, 1, 2]),  # 0.8 * 2/3 - 0.2 = 0.33 for item 1, 0.8 * 1/3 = 0.27 for item 2
        (0.4, [0, 2, 1]),  # 0.6 * 2/3 - 0.4 = 0 for item 1, 0.6 * 1/3 = 0.2 for 2, then 1 and 3 tie
        (1.0, [0, 2, 3]),  # likeness alone: 0, then what is unlike it
    ],
)
def test_maximal_marginal_relevance_by_hand(diversity: float, expected: list[int]) -> None:
    vectors = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    chosen = diversify(descending(4), vectors, n=3, diversity=diversity)
    assert (chosen.items - 100).tolist() == expected
    assert len(diversify(descending(4), vectors, n=9, diversity=diversity)) == 4
