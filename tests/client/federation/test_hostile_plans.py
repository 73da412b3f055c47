"""Whatever a plan asks within its bounds, one user adds whole numbers no longer than the grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.federation.node_interface import check_round
from shared.errors import PrivacyError
from shared.interactions.events import Events
from shared.privacy.noise import GRID
from shared.protocol.messages import Arrays, Plan
from shared.settings.plan_bounds import MAX_ADAPTER_VALUE
from tests.client.federation.test_release_suite import adapter, square_norm
from tests.client.federation.test_shop_node import CANDIDATES, N_ITEMS, node, plan
from tests.shared.protocol.test_plan_bounds import bounds_of

CORNERS = {
    name: st.sampled_from(bounds_of(name))
    for name in ("divisor", "max_grad_norm", "learning_rate", "scale", "half_life", "seed")
}
SIZES = {
    "examples_per_user": st.sampled_from([1, 64]),
    "max_context": st.sampled_from([1, 64]),
    "max_targets": st.sampled_from([1, 64]),
    "physical_batch": st.sampled_from([1, 64]),
}
histories = st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=200)
entries = st.sampled_from([0.0, 1e-38, 1.0, -1e3, MAX_ADAPTER_VALUE, -MAX_ADAPTER_VALUE])


def one_user(items: list[int]) -> Events:
    return Events.build(user=[0] * len(items), item=items, time=range(len(items)))


def hostile(values: tuple[float, float]) -> Arrays:
    """An adapter whose first and last entries a server chose."""
    arrays = {name: array.copy() for name, array in adapter().items()}
    for array in arrays.values():
        array.flat[0], array.flat[-1] = values
    return arrays


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(CORNERS | SIZES),
    histories,
    st.tuples(entries, entries),
    st.sampled_from(["frozen-a", "average", "fedsvd"]),
)
def test_a_step_holds_no_more_than_one_grid_length_of_a_user(
    fields: dict[str, Any], items: list[int], values: tuple[float, float], aggregation: str
) -> None:
    asked = plan(**fields, aggregation=aggregation)
    sums = node(one_user(items), 1).train(
        adapter=hostile(values), plan=asked, round=1, candidates=CANDIDATES
    )
    assert sum(square_norm(numbers) for numbers in sums.values()) <= GRID**2


@settings(max_examples=60, deadline=None)
@given(st.fixed_dictionaries(CORNERS), histories, st.sets(st.integers(0, N_ITEMS - 1), min_size=1))
def test_counts_and_pairs_hold_no_more_than_one_grid_length_of_a_user(
    fields: dict[str, Any], items: list[int], head: set[int]
) -> None:
    shop, asked = node(one_user(items), 1), plan(**fields, head_items=N_ITEMS)
    assert square_norm(shop.item_counts(plan=asked)) <= GRID**2
    assert square_norm(shop.pair_sums(plan=asked, head=np.array(sorted(head)))) <= GRID**2


def test_an_honest_user_fills_the_grid_so_that_the_bound_is_tight() -> None:
    sums = node(one_user(list(range(12))), 1).train(
        adapter=adapter(), plan=plan(max_grad_norm=1e-6), round=1, candidates=CANDIDATES
    )
    assert sum(square_norm(numbers) for numbers in sums.values()) > 0.999 * GRID**2


PLAN: Plan = plan()


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        (np.arange(len(CANDIDATES) + 1), "shape of the candidates"),
        (np.zeros((2, 2), np.int64), "shape of the candidates"),
        (np.array([0, N_ITEMS]), f"candidates=0 to {N_ITEMS}"),
        (np.array([-1, 3]), "candidates=-1 to 3"),
    ],
)
def test_candidates_outside_the_plan_are_refused(candidates: Any, message: str) -> None:
    with pytest.raises(PrivacyError, match=message):
        check_round(PLAN, adapter=adapter(), candidates=candidates, n_items=N_ITEMS)


@pytest.mark.parametrize("value", [np.nan, np.inf, 2e6])
def test_an_adapter_that_nobody_trained_is_refused(value: float) -> None:
    with pytest.raises(PrivacyError, match="entries up to"):
        check_round(PLAN, adapter=hostile((0.0, value)), candidates=CANDIDATES, n_items=N_ITEMS)
    doubles = {name: array.astype(np.float64) for name, array in adapter().items()}
    with pytest.raises(PrivacyError, match="must be float32"):
        check_round(PLAN, adapter=doubles, candidates=CANDIDATES, n_items=N_ITEMS)  # type: ignore[arg-type]
