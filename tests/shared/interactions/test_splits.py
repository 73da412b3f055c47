"""Windows by week, date and rank, and the parts they cut."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ConfigError
from shared.interactions.events import Catalogue, Dataset, Events, Shop
from shared.interactions.splits import (
    AFTER,
    DataCalendar,
    Windows,
    parts,
    resolve_windows,
    split_shop,
)
from shared.settings.run_settings import DataSettings

MONDAY = 19_723.0
"""2024-01-01 was a Monday."""


def shop_of(user: list[int], time: list[float]) -> Shop:
    events = Events.build(user=user, item=list(range(len(user))), time=time)
    ids = np.array([str(code) for code in range(max(user) + 1)], dtype=object)
    return Shop("s", ids, events)


def dataset_of(shop: Shop, unit: str = "days") -> Dataset:
    n = len(shop.events)
    ids = np.array([str(code) for code in range(n)], dtype=object)
    catalogue = Catalogue(ids, ["x"] * n)
    return Dataset("d", catalogue, (shop,), {}, unit, np.ones(n, dtype=bool))


def weeks(n: int) -> Dataset:
    """One event on the Thursday of each week from 2024-01-04."""
    return dataset_of(shop_of([0] * n, [MONDAY + 3 + 7 * week for week in range(n)]))


def test_weeks_and_dates_name_the_same_windows() -> None:
    by_week = DataSettings(validation_start="5", test_start="7", test_end="9")
    by_date = DataSettings(
        validation_start="2024-01-29", test_start="2024-02-12", test_end="2024-02-26T00:00+00:00"
    )
    expected = Windows("time", MONDAY + 28, MONDAY + 42, MONDAY + 56)
    assert resolve_windows(by_week, weeks(10)) == expected
    assert resolve_windows(by_date, weeks(10)) == expected


def test_time_split_is_half_open_and_drops_what_comes_after() -> None:
    shop = shop_of([0] * 7, [0, 1.9, 2, 3.9, 4, 5.9, 6])
    split = split_shop(shop, Windows("time", 2.0, 4.0, 6.0))
    assert list(split.fit.item) == [0, 1]
    assert list(split.validation.item) == [2, 3]
    assert list(split.test.item) == [4, 5]


def test_leave_last_out_takes_the_last_two_of_users_with_three() -> None:
    shop = shop_of([0, 0, 0, 0, 1, 1, 2, 2, 2], [3, 1, 2, 0, 0, 1, 5, 5, 5])
    split = split_shop(shop, Windows("leave-last-out"))
    assert list(split.test.item) == [0, 8]
    assert list(split.validation.item) == [2, 7]
    assert sorted(split.fit.item) == [1, 3, 4, 5, 6]


def test_default_windows_are_the_last_two_tenths() -> None:
    dataset = dataset_of(shop_of([0] * 100, [MONDAY + 0.5 + day for day in range(100)]))
    windows = resolve_windows(DataSettings(), dataset)
    assert windows == Windows("time", MONDAY + 79, MONDAY + 89, None)
    ranks = dataset_of(shop_of([0] * 101, [float(rank) for rank in range(101)]), "order")
    assert resolve_windows(DataSettings(), ranks) == Windows("time", 80.0, 90.0, None)


def test_a_stored_clock_outlives_the_dropping_of_events() -> None:
    clock = DataCalendar("days", MONDAY - 70, MONDAY + 14, MONDAY + 28)
    dataset = weeks(10)
    dataset.report["time"] = clock.to_json()
    assert DataCalendar.from_json(clock.to_json()) == clock
    assert resolve_windows(DataSettings(), dataset) == Windows("time", MONDAY + 14, MONDAY + 28)
    by_week = DataSettings(validation_start="13", test_start="15")
    assert resolve_windows(by_week, dataset) == Windows("time", MONDAY + 14, MONDAY + 28)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (
            {"validation_start": "7", "test_start": "5"},
            "validation_start=2024-02-12 must be before",
        ),
        ({"validation_start": "5", "test_start": "7", "test_end": "7"}, "--test-end"),
        ({"validation_start": "1", "test_start": "7"}, "the fit window has 0 events"),
        ({"validation_start": "5", "test_start": "50"}, "the test window has 0 events"),
        (
            {"validation_start": "2024-02-02", "test_start": "2024-02-03"},
            "the validation window has 0 events",
        ),
        ({"test_start": "spring"}, "test_start='spring' is neither a week number nor an ISO date"),
        ({"split": "leave-last-out", "test_start": "3"}, "has no meaning with split"),
    ],
)
def test_windows_that_cannot_be_are_refused(asked: dict[str, str], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        resolve_windows(DataSettings(**asked), weeks(10))


def test_ranks_take_numbers_and_no_dates() -> None:
    dataset = dataset_of(shop_of([0] * 10, [float(rank) for rank in range(10)]), "order")
    asked = DataSettings(validation_start="4", test_start="7.5")
    assert resolve_windows(asked, dataset) == Windows("time", 4.0, 7.5)
    with pytest.raises(ConfigError, match="is no rank"):
        resolve_windows(DataSettings(test_start="2024-01-01"), dataset)


EVENTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 20)), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(rows=EVENTS, cuts=st.lists(st.integers(0, 20), min_size=3, max_size=3, unique=True))
def test_the_parts_are_disjoint_complete_and_in_order(
    rows: list[tuple[int, int]], cuts: list[int]
) -> None:
    shop = shop_of([user for user, _ in rows], [float(time) for _, time in rows])
    start, test, end = map(float, sorted(cuts))
    for windows in (Windows("time", start, test, end), Windows("leave-last-out")):
        split = split_shop(shop, windows)
        after = shop.events.item[parts(shop.events, windows) == AFTER]
        items = [*split.fit.item, *split.validation.item, *split.test.item, *after]
        assert sorted(items) == list(range(len(rows)))
        for user in range(5):
            last = -math.inf
            for part in (split.fit, split.validation, split.test):
                times = part.time[part.user == user]
                if len(times):
                    assert times.min() >= last
                    last = times.max()
