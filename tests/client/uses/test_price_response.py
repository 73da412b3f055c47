from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from client.uses.price_response import PriceResponse, price_responses, what_if
from shared.errors import ConfigError
from shared.interactions.events import Events
from shared.uses.history import History, Promotions
from tests.shared.uses.small_history import END, small_history

N_ITEMS, N_WEEKS = 20, 40


def shop_with(elasticity: float) -> History:
    """Items whose weekly pieces follow their price with this elasticity, display doubling them."""
    rng = np.random.default_rng(0)
    item, week = (a.ravel() for a in np.meshgrid(np.arange(N_ITEMS), np.arange(N_WEEKS)))
    cut = rng.choice([1.0, 0.9, 0.7], len(item))
    shown = (cut < 1) & (rng.random(len(item)) < 0.5)
    pieces = np.round(
        200 * cut**elasticity * np.where(shown, 2, 1) * rng.lognormal(0, 0.1, len(item))
    )
    time = END - 7 * (N_WEEKS - week) + 3.0
    events = Events.build(
        user=np.zeros(len(item)), item=item, time=time, quantity=pieces, price=(1 + item % 5) * cut
    )
    promotions = Promotions(
        item[shown], (time - 3)[shown], np.full(int(shown.sum()), 8.0), np.zeros(int(shown.sum()))
    )
    return replace(
        small_history(),
        events=events,
        n_users=1,
        category=np.zeros(N_ITEMS, dtype=np.int64),
        category_names=["soup"],
        promotions=promotions,
    )


@pytest.mark.parametrize("elasticity", [-1.5, -0.5])
def test_the_elasticity_is_recovered_with_display_held_equal(elasticity: float) -> None:
    (response,) = price_responses(shop_with(elasticity))
    assert response.category == "soup"
    assert response.elasticity == pytest.approx(elasticity, abs=0.15)
    assert response.low < elasticity < response.high
    assert response.high - response.low < 0.5


def test_what_if_by_hand_and_only_inside_observed_prices() -> None:
    response = PriceResponse("soup", -1.0, -2.0, -0.5, 12, 0.7, 1.1)
    told = what_if(response, 0.8)
    assert told.pieces == pytest.approx((1.25, 0.8**-0.5, 0.8**-2))
    assert told.revenue == pytest.approx((1.0, 0.8**0.5, 0.8**-1))
    with pytest.raises(ConfigError, match=r"price=0.5 is outside the prices seen in soup"):
        what_if(response, 0.5)


def test_a_category_of_few_items_is_left_out() -> None:
    history = shop_with(-1.0)
    few = np.arange(N_ITEMS) % 5
    names = [f"kind {k}" for k in range(5)]
    assert price_responses(replace(history, category=few, category_names=names)) == []
