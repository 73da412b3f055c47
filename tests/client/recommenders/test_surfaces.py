"""Surfaces: who is asked, about what, and what may be answered."""

from __future__ import annotations

import numpy as np
import pytest

from client.recommenders.queries import SURFACES, History, Queries, build_queries, candidates_of
from shared.interactions.events import Events
from tests.client.recommenders.small_shops import history_before, shop_events


def ask(surface: str, known: History, window: Events, seed: int = 0) -> Queries:
    built = build_queries(surface, known=known, window=window, seed=seed)
    assert isinstance(built, Queries)
    return built


def tiny() -> tuple[History, Events]:
    """Two users know items 10, 20, 30; user 0 had 10 and 20, user 1 had 20 and 30."""
    events = Events.build(user=[0, 0, 1, 1], item=[10, 20, 20, 30], time=[1, 2, 1, 2])
    known = History(events, np.array([10, 20, 30], np.int32), np.full(3, 5.0))
    window = Events.build(user=[0, 0, 1, 2], item=[20, 30, 99, 10], time=[6, 6, 6, 6])
    return known, window


def test_for_you_asks_all_users_with_a_candidate_in_the_window() -> None:
    known, window = tiny()
    queries = ask("for-you", known, window)
    assert queries.users.tolist() == [0, 2]  # user 1 took only an item beyond the catalogue
    assert queries.allowed is None
    assert queries.targets.tolist() == [[False, True, True], [True, False, False]]
    assert queries.history.events.user.tolist() == [0, 0]
    assert queries.history.events.item.tolist() == [10, 20]


def test_discover_masks_the_history() -> None:
    known, window = tiny()
    queries = ask("discover", known, window)
    assert queries.users.tolist() == [0, 2]
    assert queries.allowed is not None
    assert queries.allowed.tolist() == [[False, False, True], [True, True, True]]
    assert queries.targets.tolist() == [[False, False, True], [True, False, False]]


def test_tail_allows_only_what_fewer_than_ten_users_had() -> None:
    events = Events.build(user=[*range(10), *range(9)], item=[0] * 10 + [1] * 9, time=[0] * 19)
    known = History(events, np.array([0, 1], np.int32), np.full(12, 5.0))
    window = Events.build(user=[11, 11, 10], item=[0, 1, 0], time=[6, 6, 6])
    queries = ask("tail", known, window)
    assert queries.users.tolist() == [11]
    assert queries.allowed is not None
    assert queries.allowed.tolist() == [[False, True]]


def test_cold_asks_for_items_that_hardly_anyone_had() -> None:
    known, window = tiny()
    cold = np.array([True, False, False])
    queries = build_queries("cold", known=known, window=window, seed=0, cold=cold)
    assert isinstance(queries, Queries)
    assert queries.users.tolist() == [2]
    assert queries.allowed is not None
    assert queries.allowed.tolist() == [[True, False, False]]
    assert queries.targets.tolist() == [[True, False, False]]
    absent = build_queries("cold", known=known, window=window, seed=0)
    assert absent == "no item is known to have fewer than 5 events"


def test_a_new_user_is_known_by_one_event_and_asked_what_is_new_to_it() -> None:
    known, window = tiny()
    queries = ask("new-user", known, window)
    assert queries.users.tolist() == [0, 2]
    assert queries.history.events.user.tolist() == [0]
    assert queries.history.events.item.tolist() == [20]  # the last of 10 and 20
    assert queries.own.events.item.tolist() == [20]
    assert queries.allowed is not None
    assert queries.allowed.tolist() == [[False, False, True], [True, True, True]]


def test_candidates_are_known_and_scored() -> None:
    known = Events.build(user=[0, 0, 0], item=[5, 2, 5], time=[0, 0, 0])
    scored = np.array([1, 1, 1, 1, 1, 0], dtype=bool)
    assert candidates_of(known, scored).tolist() == [2]


def test_basket_splits_the_first_large_cart() -> None:
    events = shop_events(0)
    known = history_before(events, 80.0)
    window = events.select(events.time >= 80.0)
    queries = ask("basket", known, window)
    given = queries.history.known
    assert not (given & queries.targets).any()
    assert (given.sum(axis=1) == 4).all()
    assert (queries.targets.sum(axis=1) == 4).all()
    for row, user in enumerate(queries.users):
        mine = window.select(window.user == user)
        first = mine.select(mine.session == mine.session[0])
        cart = known.candidates[given[row] | queries.targets[row]]
        assert set(cart) == set(first.item)
    assert queries.allowed is not None
    assert (queries.allowed == ~given).all()
    assert len(queries.own.events) == len(known.events)


def test_small_carts_are_passed_over() -> None:
    items = np.arange(12)
    events = Events.build(user=[0] * 12, item=items, time=[0] * 12)
    known = History(events, items.astype(np.int32), np.array([1.0]))
    small = Events.build(user=[0] * 5, item=items[:5], time=[2] * 5, session=[7] * 5)
    answer = build_queries("basket", known=known, window=small, seed=0)
    assert answer == "no session in the window has 6 distinct candidates"
    large = Events.build(
        user=[0] * 12,
        item=[*items[:5], 5, 6, 7, 8, 9, 10, 10],
        time=[2] * 5 + [3] * 7,
        session=[7] * 5 + [8] * 7,
    )
    queries = ask("basket", known, large)
    assert set(np.flatnonzero(queries.history.known[0] | queries.targets[0])) == {5, 6, 7, 8, 9, 10}


def test_without_sessions_there_is_no_basket() -> None:
    known, window = tiny()
    answer = build_queries("basket", known=known, window=window, seed=0)
    assert answer == "the window has no sessions"


@pytest.mark.parametrize("surface", SURFACES)
def test_targets_may_be_recommended_and_every_query_has_one(surface: str) -> None:
    events = shop_events(1, n_users=9)
    known, window = history_before(events, 60.0), events.select(events.time >= 60.0)
    cold = known.users_per_item < 3
    queries = build_queries(surface, known=known, window=window, seed=0, cold=cold)
    assert isinstance(queries, Queries)
    assert queries.targets.any(axis=1).all()
    if queries.allowed is not None:
        assert not (queries.targets & ~queries.allowed).any()
    assert (np.diff(queries.users) > 0).all()


def test_same_seed_same_halves() -> None:
    events = shop_events(2)
    known, window = history_before(events, 80.0), events.select(events.time >= 80.0)
    first, again, other = (ask("basket", known, window, seed).targets for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
