"""What a recommender learns from new events is what a fit on all events learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.recommenders.interface import ServedRecommender
from client.recommenders.local import behaviour_recommenders, federated_ease
from client.recommenders.queries import History, Queries
from client.recommenders.sequence import Sequence
from client.recommenders.tables.pair_gram import PairGram
from shared.interactions.events import EVENT_TYPES, Events

N_USERS, N_ITEMS = 4, 7
ONE_EVENT = st.tuples(
    st.integers(0, N_USERS - 1),
    st.integers(0, N_ITEMS - 1),
    st.integers(0, len(EVENT_TYPES) - 1),
    st.integers(-1, 2),
)


def recommenders(unit: str) -> dict[str, ServedRecommender]:
    gram = PairGram.of(np.array([0, 2, 5]), np.array([1.0, 0.5, 0.0]))
    return {**behaviour_recommenders(unit), "pairs": federated_ease(gram, unit)}


def events_of(rows: list[tuple[int, int, int, int]]) -> Events:
    """Events in the order in which they came; each is later than all before it."""
    user, item, kind, session = (list(column) for column in zip(*rows, strict=True))
    time = np.arange(len(rows))
    return Events.build(user=user, item=item, event_type=kind, session=session, time=time)


@pytest.mark.parametrize("unit", ["days", "order"])
@settings(deadline=None, max_examples=25)
@given(rows=st.lists(ONE_EVENT, min_size=2, max_size=30), share=st.floats(0.0, 0.9))
def test_new_events_lead_where_a_new_fit_leads(
    unit: str, rows: list[tuple[int, int, int, int]], share: float
) -> None:
    events = events_of(rows)
    before = events.time < share * len(rows)
    items = np.arange(1, N_ITEMS, dtype=np.int32)  # the first is no candidate
    known = History(events, items, np.zeros(N_USERS))
    early = replace(known, events=events.select(before))
    new = events.select(~before)
    new = new.select(np.argsort(new.time, kind="stable"))
    nothing = np.zeros(known.shape, np.bool_)
    queries = Queries("for-you", np.arange(N_USERS), known, known, None, nothing)
    for name, recommender in recommenders(unit).items():
        grown = recommender.fit(early).add_events(new, known=known).score(queries)
        expected = recommenders(unit)[name].fit(known).score(queries)
        np.testing.assert_allclose(grown, expected, atol=1e-5, err_msg=name)


def test_what_follows_is_counted_anew_where_only_its_neighbours_were_stored() -> None:
    events = events_of([(0, 1, 0, 0), (0, 2, 0, 0), (1, 2, 0, 0), (0, 3, 0, 0)])
    events = events.select(np.lexsort((events.time, events.user)))
    known = History(events, np.arange(N_ITEMS, dtype=np.int32), np.zeros(N_USERS))
    fitted = Sequence(half_life=2.0).fit(known)
    restored = Sequence(half_life=2.0)
    restored.neighbours = fitted.neighbours
    restored.add_events(events.select(events.time == 3), known=known)
    np.testing.assert_array_equal(restored.neighbours.value, fitted.neighbours.value)
