from __future__ import annotations

import numpy as np
import pytest

from client.uses.segments import find_segments
from shared.errors import ConfigError
from shared.uses.activity import days_since_visit, visits_within
from tests.shared.uses.small_history import N_USERS, small_history


def test_segments_tell_those_who_left_from_those_who_come() -> None:
    history = small_history()
    found = find_segments(history, k=3, seed=0)
    assert found.shares.sum() == pytest.approx(1)
    assert (np.diff(found.shares) <= 0).all()
    means = [visits_within(history, 84)[found.segment == s].mean() for s in range(3)]
    rarest, most = int(np.argmin(means)), int(np.argmax(means))
    away = days_since_visit(history)
    assert away[found.segment == rarest].mean() > away[found.segment == most].mean()
    assert "low" in found.names[rarest]
    assert "high" in found.names[most]
    assert len(set(found.names)) == 3


def test_segments_hold_over_four_weeks_and_are_the_same_with_the_same_seed() -> None:
    first, again = (find_segments(small_history(), k=3, seed=0) for _ in range(2))
    np.testing.assert_array_equal(first.segment, again.segment)
    assert 0.3 < first.stability <= 1


@pytest.mark.parametrize("k", [1, N_USERS + 1])
def test_a_number_of_segments_that_cannot_be_is_refused(k: int) -> None:
    with pytest.raises(ConfigError, match=f"segments={k} must be from 2 to"):
        find_segments(small_history(), k=k, seed=0)
