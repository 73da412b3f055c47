"""What is bought together, against a loop over baskets."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.recommenders.tables.baskets import SHRINK, BasketItems, lift

N_ITEMS = 6
ROW = st.tuples(
    st.integers(0, 3),  # user
    st.integers(0, N_ITEMS - 1),  # item
    st.sampled_from([-1, -1, 0, 7, 2**62]),  # session
    st.sampled_from([0.2, 0.9, 1.0, 19_000.5]),  # time
    st.booleans(),  # whether it says that the user has the item
)


@given(st.lists(ROW, max_size=40), st.integers(0, N_ITEMS - 1), st.sampled_from(["days", "order"]))
def test_lift_is_that_of_a_loop(
    rows: list[tuple[int, int, int, float, bool]], item: int, time_unit: str
) -> None:
    baskets: dict[tuple[int, str, int], set[int]] = defaultdict(set)
    for user, what, session, time, taken in rows:
        if taken and session >= 0:
            baskets[user, "visit", session].add(what)
        elif taken and time_unit == "days":
            baskets[user, "day", int(time)].add(what)
    counts = Counter(what for basket in baskets.values() for what in basket)
    both = Counter(w for basket in baskets.values() if item in basket for w in basket)
    expected = [
        both[other] * len(baskets) / ((counts[item] + SHRINK) * (counts[other] + SHRINK))
        for other in range(N_ITEMS)
    ]
    expected[item] = 0.0

    user, what, session, time, taken = (
        map(np.array, zip(*rows, strict=True)) if rows else (np.zeros(0),) * 5
    )
    table = BasketItems.of(
        user.astype(np.int32),
        what.astype(np.int32),
        session=session.astype(np.int64),
        time=time.astype(np.float64),
        taken=taken.astype(bool),
        time_unit=time_unit,
    )
    together = table.with_item(item, N_ITEMS)
    assert together.tolist() == [both[other] for other in range(N_ITEMS)]
    found = table.distinct().counts(N_ITEMS)
    assert found.tolist() == [counts[other] for other in range(N_ITEMS)]
    assert lift(together, found, item, table.n_baskets) == pytest.approx(expected, rel=1e-6)
