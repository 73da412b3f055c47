"""Pair sums against a naive loop, and their sensitivity under adding a user."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ConfigError, PrivacyError
from shared.interactions.events import Events
from shared.privacy.accounting.guarantee import PAIRS_MAX_NORM
from shared.privacy.noise import GRID
from shared.releases.pair_sums import (
    check_head,
    grid_pair_sums,
    head_items,
    n_pairs,
    pair_sums,
    square,
    user_sizes,
)

Baskets = list[list[int]]


def events_of(histories: Baskets) -> Events:
    user = [u for u, items in enumerate(histories) for _ in items]
    item = [i for items in histories for i in items]
    return Events.build(user=user, item=item, time=np.arange(len(item)))


def naive(histories: Baskets, head: list[int]) -> np.ndarray:
    sums = np.zeros((len(head), len(head)))
    for items in histories:
        mine = sorted({head.index(i) for i in items if i in head})
        pairs = list(itertools.combinations(mine, 2))
        for a, b in pairs:
            sums[a, b] += 1 / np.sqrt(len(pairs))
    return sums[np.triu_indices(len(head), 1)]


histories = st.lists(st.lists(st.integers(0, 9), max_size=12), min_size=1, max_size=6)


def test_pair_sums_by_hand() -> None:
    # User 0 has three head items (three pairs), user 1 two, user 2 one, user 3 none at all.
    events = events_of([[1, 3, 3, 5, 8], [5, 3], [1, 8], [8]])
    share = 1 / np.sqrt(3)
    assert pair_sums(events, np.array([1, 3, 5])) == pytest.approx(
        [share, share, share + 1], abs=2e-6
    )


@given(histories)
def test_pair_sums_equal_a_naive_loop(shop: Baskets) -> None:
    head = [0, 2, 3, 7, 9]
    assert pair_sums(events_of(shop), np.array(head)) == pytest.approx(naive(shop, head), abs=1e-4)


@settings(max_examples=200)
@given(histories, st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_one_more_user_moves_the_sums_by_at_most_the_norm(shop: Baskets, user: list[int]) -> None:
    head = np.array([0, 1, 2, 4, 6, 7, 8])
    moved = grid_pair_sums(events_of([*shop, user]), head) - grid_pair_sums(events_of(shop), head)
    pairs = len(set(user) & set(head.tolist())) >= 2
    square = sum(int(number) ** 2 for number in moved)
    assert (
        square <= (PAIRS_MAX_NORM * GRID) ** 2
    )  # exactly: what the proof in docs/privacy.md needs
    assert square == pytest.approx(GRID * GRID if pairs else 0, rel=1e-4)


def test_a_shop_without_events_has_no_pairs() -> None:
    assert (pair_sums(events_of([[]]), np.array([0, 1, 2])) == np.zeros(3)).all()


def test_head_items_are_the_largest_counts_with_ties_by_code() -> None:
    counts = np.array([0.5, 3.0, -1.0, 3.0, 0.5, 0.5])
    assert head_items(counts, 4).tolist() == [0, 1, 3, 4]
    assert head_items(counts, 99).tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ConfigError, match="head_items=1 must be at least 2; raise it"):
        head_items(counts, 1)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ([], "must be 1 to head_items=4 item codes"),
        ([0, 1, 2, 3, 4], "must be 1 to head_items=4 item codes"),
        ([[0, 1]], "must be 1 to head_items=4 item codes"),
        ([0.0, 1.0], "type float64 must be"),
        ([0, 2, 1], "must be ascending without repetition"),
        ([0, 1, 1], "must be ascending without repetition"),
        ([-1, 1], "from -1 to 1 must be within the catalogue's 9 items"),
        ([1, 9], "from 1 to 9 must be within the catalogue's 9 items"),
    ],
)
def test_what_is_no_head_is_refused(head: list[int], message: str) -> None:
    with pytest.raises(PrivacyError, match=message):
        check_head(np.array(head), n_items=9, most=4)
    check_head(np.array([0, 3, 8]), n_items=9, most=4)


def test_square_puts_every_pair_where_pair_sums_took_it_from() -> None:
    values = np.arange(1.0, 7.0)
    assert square(values, 4).tolist() == [[0, 1, 2, 3], [1, 0, 4, 5], [2, 4, 0, 6], [3, 5, 6, 0]]
    assert n_pairs(4) == 6
    with pytest.raises(ValueError, match="5 values must be 6, the pairs of 4 items"):
        square(values[:5], 4)


def test_user_sizes_count_distinct_head_items() -> None:
    events = events_of([[1, 3, 3, 8], [], [5]])
    assert user_sizes(events, np.array([1, 3, 5])).tolist() == [2, 0, 1]
