"""Shops of one user, of one item, without anything to learn from: what can be measured is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from client.serving.ranking.ranker import RecommendationRequest
from shared.interactions.events import Dataset, Events, Shop
from simulation.evaluation.evaluate import evaluate
from tests.client.recommenders.small_shops import item_vectors
from tests.simulation.evaluation.test_replay import WINDOWS, dataset, served


def of(events: Events) -> Dataset:
    data = dataset("days", "purchases")
    n_users = int(events.user.max(initial=-1)) + 1
    users = np.array([f"u{i}" for i in range(n_users)], dtype=object)
    (shop,) = data.shops
    return replace(data, shops=(shop, Shop("small", users, events)))


SMALL = {
    "one user": Events.build(user=[0] * 6, item=[1, 2, 3, 4, 5, 6], time=[1, 2, 60, 61, 80, 81]),
    "one item": Events.build(user=[0, 1, 2], item=[4, 4, 4], time=[1.0, 60.0, 80.0]),
    "nothing in the validation window": Events.build(
        user=[0, 0, 1, 1], item=[1, 2, 2, 1], time=[1.0, 80.0, 2.0, 81.0]
    ),
    "nothing in the test window": Events.build(user=[0, 1, 1], item=[1, 2, 3], time=[1, 2, 60]),
}


@pytest.mark.parametrize("kind", SMALL)
def test_a_small_shop_is_measured_as_far_as_it_can_be(kind: str) -> None:
    result = evaluate(of(SMALL[kind]), WINDOWS["days"], item_vectors(), {}, bootstrap=10)
    normal, small = result.shops
    assert {"for-you", "discover", "new-user", "basket"} <= set(normal.rankings)
    for surface in ("for-you", "discover", "tail", "cold", "new-user", "basket"):
        assert (surface in small.rankings) != (surface in small.absent)
    assert all(len(reason) > 10 and "\n" not in reason for reason in small.absent.values())
    for methods in small.rankings.values():
        assert np.isfinite(methods["best-local"].values[:, 0]).all()


@pytest.mark.parametrize("kind", SMALL)
def test_a_small_shop_is_served(tmp_path, kind: str) -> None:
    data = of(SMALL[kind])
    service = served(tmp_path, replace(data, shops=data.shops[1:]), WINDOWS["days"])
    service.learn()
    for user in ("u0", "stranger"):
        for surface in ("for-you", "discover"):
            found = service.recommend(RecommendationRequest(surface, n=5), user)
            assert np.isfinite(found.ranking.scores).all()
            assert len(found.ranking) == 5
    service.close()
