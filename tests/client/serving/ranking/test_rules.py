"""Places of pinned items and bounds of categories, against a loop."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from client.serving.ranking.ranker import capped_places
from client.serving.ranking.rules import places


@given(st.lists(st.integers(1, 12), max_size=5, unique=True), st.integers(0, 12), st.data())
def test_pins_stand_where_they_are_asked_for(pins: list[int], n: int, data: st.DataObject) -> None:
    pins = sorted(pins)
    order = places(pins, n).tolist()
    assert sorted(order) == list(range(len(pins) + n))
    others = [place for place in order if place >= len(pins)]
    assert others == sorted(others)
    for number, place in enumerate(pins):
        at = order.index(number) + 1
        assert at == place or (at < place and not [p for p in order[at:] if p >= len(pins)])
    fewer = data.draw(st.integers(0, n))  # a page needs no more others than its own end
    assert places(pins, fewer).tolist()[:fewer] == order[:fewer]


@given(
    st.lists(st.integers(-1, 3), max_size=30),
    st.none() | st.integers(0, 4),
    st.dictionaries(st.integers(0, 3), st.integers(0, 4)),
    st.lists(st.integers(-1, 3), max_size=4),
)
def test_bounds_are_those_of_a_loop(
    groups: list[int], most: int | None, bounds: dict[int, int], taken: list[int]
) -> None:
    left, count = [], Counter(taken)
    for place, group in enumerate(groups):
        bound = min(99 if most is None else most, bounds.get(group, 99))
        if group == -1 or count[group] < bound:
            left.append(place)
            count[group] += 1
    arrays = np.array(groups, np.int32), np.array(taken, np.int32)
    assert capped_places(arrays[0], most, bounds=bounds, taken=arrays[1]).tolist() == left
