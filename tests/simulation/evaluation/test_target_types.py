"""Which event types a recommendation is measured by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from client.recommenders.visits import taken_types, type_names
from shared.interactions.events import EVENT_TYPES, Dataset
from shared.settings.run_settings import TARGET_TYPES, EvaluationSettings
from simulation.evaluation.evaluate import data_taken_types, evaluate
from simulation.evaluation.measures import stages
from tests.client.recommenders.small_shops import item_vectors
from tests.simulation.evaluation.test_replay import WINDOWS, dataset

VIEW, RATING = EVENT_TYPES.index("view"), EVENT_TYPES.index("rating")


def of_one_type(kind: int) -> Dataset:
    data = dataset("days", "purchases")
    (shop,) = data.shops
    kinds = np.full(len(shop.events), kind, np.uint8)
    return replace(data, shops=(replace(shop, events=replace(shop.events, event_type=kinds)),))


def test_only_the_types_that_are_named_are_answers() -> None:
    data = dataset("days", "mixed")
    (shop,) = data.shops
    for names in (TARGET_TYPES, ("rating",)):
        types = data_taken_types(data, names)
        assert type_names(types) == list(names if len(names) == 1 else TARGET_TYPES)
        _, test = stages(shop, WINDOWS["days"], data.scored, seed=0, taken_types=types)
        (asked,) = test.blocks()
        queries = asked["for-you"]
        window = test.window.select(types[test.window.event_type])
        assert queries.targets.sum() == len(set(zip(window.user, window.item, strict=True)))
        discover = asked["discover"]
        known = test.history.events
        had = known.select(types[known.event_type] & (known.user == discover.users[0]))
        assert (~discover.allowed[0]).sum() == len(np.unique(had.item))


@pytest.mark.parametrize("kind", [VIEW, RATING])
def test_a_shop_that_logs_one_type_is_measured_by_it(kind: int) -> None:
    data = of_one_type(kind)
    assert EVENT_TYPES[kind] in type_names(data_taken_types(data, TARGET_TYPES))
    result = evaluate(data, WINDOWS["days"], item_vectors(), {}, pooled=False, bootstrap=10)
    rankings = result.shops[0].rankings
    assert {"for-you", "discover", "basket"} <= set(rankings)
    gain = rankings["for-you"]["best-local"].values[:, 0].mean()
    assert gain > rankings["for-you"]["popularity"].values[:, 0].mean()


def test_types_are_settings_with_bounds() -> None:
    assert EvaluationSettings(target_types=["cart"]).target_types == ("cart",)
    for wrong in ([], ["buy"]):
        with pytest.raises(ValueError, match="target_types"):
            EvaluationSettings(target_types=wrong)
    assert not taken_types(["view"], np.array([0, VIEW], np.uint8))[0]
