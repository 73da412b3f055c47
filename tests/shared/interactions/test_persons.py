"""Ids of one person are one unit of privacy: their share of what leaves is bounded together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from shared.interactions.events import Events
from shared.interactions.persons import by_person, linked_persons, n_persons
from shared.privacy.noise import GRID
from shared.releases.item_counts import grid_user_counts
from shared.releases.pair_sums import grid_pair_sums
from tests.client.federation.test_release_suite import adapter, square_norm
from tests.client.federation.test_shop_node import CANDIDATES, N_ITEMS, node, plan

IDS = np.array(["a", "b", "c", "d"], dtype=object)


def users(**persons: str) -> pd.DataFrame:
    frame = pd.DataFrame({"user_id": list(persons), "person_id": list(persons.values())})
    return frame.set_index("user_id")


def five_ids() -> Events:
    """Five ids of one person, each with the same twelve items."""
    user = np.repeat(np.arange(5), 12)
    item = np.tile(np.arange(12), 5)
    return Events.build(user=user, item=item, time=np.arange(60), session=user)


def test_ids_of_one_person_share_a_code_and_others_have_their_own() -> None:
    persons = linked_persons(IDS, users(a="p", c="p", d=""))
    assert persons is not None
    assert persons.tolist() == [0, 1, 0, 2]
    assert n_persons(4, persons) == 3


def test_a_person_named_like_another_user_is_not_that_user() -> None:
    persons = linked_persons(IDS, users(a="b", c="b"))
    assert persons is not None
    assert persons.tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize("table", [pd.DataFrame(), users(a="", b=""), users(a="p", b="q")])
def test_without_links_nothing_changes(table: pd.DataFrame) -> None:
    assert linked_persons(IDS, table) is None
    events = five_ids()
    assert by_person(events, None) is events
    assert n_persons(4, None) == 4


def test_events_of_a_person_are_sorted_by_time_over_its_ids() -> None:
    events = Events.build(user=[0, 0, 1, 2, 2], item=[1, 2, 3, 4, 5], time=[5, 9, 7, 1, 6])
    merged = by_person(events, np.array([0, 1, 0], dtype=np.int32))
    assert merged.user.tolist() == [0, 0, 0, 0, 1]
    assert merged.item.tolist() == [4, 1, 5, 2, 3]
    assert merged.time.tolist() == [1, 5, 6, 9, 7]


def test_a_person_with_five_ids_adds_one_share_to_everything_that_leaves() -> None:
    one = np.zeros(5, dtype=np.int32)
    linked, apart = (by_person(five_ids(), one), 1), (five_ids(), 5)
    for events, persons in (linked, apart):
        sums = node(events, persons).train(
            adapter=adapter(), plan=plan(max_grad_norm=1e-6), round=1, candidates=CANDIDATES
        )
        norms = [
            square_norm(grid_user_counts(events, N_ITEMS)),
            square_norm(grid_pair_sums(events, np.arange(N_ITEMS))),
            sum(square_norm(numbers) for numbers in sums.values()),
        ]
        for norm in norms:
            # Five ids with the same items add several shares where they are not linked.
            assert 0.8 < norm / GRID**2 <= 1 if persons == 1 else norm / GRID**2 > 4
