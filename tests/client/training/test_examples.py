"""Pairs come from one user's own events, and nothing but them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.training.examples import Examples, draw_examples
from shared.interactions.events import Events


def draw(events: Events, n_users: int, *, seed: int = 0, **changes: int) -> Examples:
    shape = {"n_pairs": 6, "max_context": 4, "max_targets": 3} | changes
    return draw_examples(events, n_users, half_life=10.0, rng=np.random.default_rng(seed), **shape)


def items(row: np.ndarray) -> list[int]:
    return [int(i) for i in row if i >= 0]


def test_a_visit_is_split_into_disjoint_halves_of_one_visit() -> None:
    visits = {0: [1, 2, 3, 4], 1: [5, 6, 7], 2: [8]}
    events = Events.build(
        user=[0] * 8,
        item=[i for row in visits.values() for i in row],
        time=np.arange(8),
        session=[s for s, row in visits.items() for _ in row],
    )
    found = draw(events, 1, n_pairs=50)
    seen = set()
    for context, target in zip(found.context[0], found.target[0], strict=True):
        given, asked = set(items(context)), set(items(target))
        whole = next(set(row) for row in visits.values() if given <= set(row))
        assert given | asked == whole
        assert not given & asked
        assert len(given) == len(whole) // 2
        seen |= {frozenset(given)}
    assert len(seen) > 5, "halves must vary"


def test_an_item_that_a_visit_holds_twice_counts_once_in_it() -> None:
    row = [1, 2, 2, 3, 3, 3]  # else an item could be asked for that the context already has
    events = Events.build(user=[0] * 6, item=row, time=np.arange(6), session=[4] * 6)
    found = draw(events, 1, n_pairs=50)
    for context, target in zip(found.context[0], found.target[0], strict=True):
        assert sorted(items(context) + items(target)) == [1, 2, 3]


def test_a_user_without_visits_is_asked_for_what_came_next() -> None:
    events = Events.build(user=[0, 0, 0], item=[7, 8, 9], time=[1, 2, 5])
    found = draw(events, 1, n_pairs=30)
    pairs = {
        (tuple(items(c)), tuple(items(t)))
        for c, t in zip(found.context[0], found.target[0], strict=True)
    }
    assert pairs == {((7,), (8, 9)), ((8, 7), (9,))}


def test_context_weights_decay_from_the_first_target() -> None:
    events = Events.build(user=[0, 0, 0], item=[7, 8, 9], time=[0, 10, 20], quantity=[1, 1, 1])
    found = draw(events, 1, n_pairs=30)
    row = next(i for i, t in enumerate(found.target[0]) if items(t) == [9])
    assert found.weight[0, row, :2] == pytest.approx([0.5, 0.25])


@pytest.mark.parametrize("events", [[], [0]])
def test_users_with_less_than_two_items_have_no_pair(events: list[int]) -> None:
    found = draw(Events.build(user=events, item=events, time=events), 2)
    assert (found.context == -1).all()
    assert (found.target == -1).all()
    assert (found.weight == 0).all()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 9), st.integers(-1, 2)),
        max_size=40,
    )
)
def test_pairs_hold_only_the_users_own_items(rows: list[tuple[int, int, int, int]]) -> None:
    user, item, time, session = ([row[k] for row in rows] for k in range(4))
    events = Events.build(user=user, item=item, time=time, session=session)
    found = draw(events, 4)
    for code in range(4):
        own = {i for u, i in zip(user, item, strict=True) if u == code}
        assert set(items(found.context[code].ravel())) <= own
        assert set(items(found.target[code].ravel())) <= own
        filled = (found.context[code] >= 0).any(axis=1)
        assert ((found.target[code] >= 0).any(axis=1) == filled).all()
        assert ((found.weight[code] > 0) == (found.context[code] >= 0)).all()
