"""What is measured is what is served: a simulated shop, asked again through HTTP."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from client.recommenders.queries import candidates_of
from client.serving.service.service import Service
from client.serving.service.startup import ServingSource, open_service
from client.store.database import writing
from client.store.imports.importing import import_rows
from client.store.store import Store
from shared.interactions.datasets.shop_rows import ShopRows
from shared.interactions.events import EVENT_TYPES, Catalogue, Dataset, Events, Shop
from shared.interactions.splits import Windows, split_shop
from simulation.evaluation.evaluate import evaluate
from simulation.evaluation.measures import Ranking, Stage, stages
from tests.client.recommenders.small_shops import N_ITEMS, shop_events
from tests.client.serving.small_service import client_of, encoder_settings
from tests.shared.model.tiny_encoders import WORDS

N_USERS, SEED, PLACES = 60, 3, 10
WINDOWS = {
    "days": Windows("time", validation_start=56.0, test_start=72.0),
    "order": Windows("leave-last-out"),
}
TIE = 2.5e-4
"""Scores go from about -1 to 3 and are summed in float32 by both, in another order."""
SURFACES = {"for-you": "for-you", "discover": "discover", "basket": "session"}


def behaviour(unit: str, kinds: str) -> Events:
    """Purchases of three tastes; with `mixed`, two of five events are of other types."""
    events = shop_events(SEED, N_USERS, visits=11)
    if unit == "order":
        rng = np.random.default_rng(0)
        events = events.select(rng.random(len(events)) < 0.15)
        place = np.arange(len(events)) - np.searchsorted(events.user, events.user)
        no_session = np.full(len(events), -1)
        events = replace(events, time=place.astype(np.float64), session=no_session)
    if kinds == "mixed":
        rng = np.random.default_rng(1)
        names = rng.choice(["purchase", "rating", "view", "cart", "click"], len(events))
        codes = [EVENT_TYPES.index(name) for name in names.tolist()]
        events = replace(events, event_type=np.array(codes, np.uint8))
    return events


def dataset(unit: str, kinds: str) -> Dataset:
    texts = [f"{WORDS[i % 3]} {WORDS[3 + i % 7]} {WORDS[i % 10]}" for i in range(N_ITEMS)]
    ids = np.array([f"i{i:02d}" for i in range(N_ITEMS)], dtype=object)
    users = np.array([f"u{i:03d}" for i in range(N_USERS)], dtype=object)
    shop = Shop("shop", users, behaviour(unit, kinds))
    scored = np.ones(N_ITEMS, dtype=np.bool_)
    return Dataset("replay", Catalogue(ids, texts), (shop,), {}, unit, scored)


def served(folder: Path, data: Dataset, windows: Windows) -> Service:
    """A node whose database holds what the shop knew before its test window."""
    (shop,) = data.shops
    known = split_shop(shop, windows).known
    store = Store(f"sqlite:///{folder / 'shop.db'}")
    with writing(store.engine) as connection:
        import_rows(connection, rows_of(shop, known, data))
    store.close()
    return open_service(
        ServingSource(store=f"sqlite:///{folder / 'shop.db'}", model=encoder_settings(folder))
    )


def rows_of(shop: Shop, known: Events, data: Dataset) -> ShopRows:
    """Events as an export of the shop would hold them."""
    sessions, session = np.unique(known.session, return_inverse=True)
    none = int(sessions[0] == -1)
    return ShopRows(
        shop_id=shop.shop_id,
        time_unit=data.time_unit,
        user_ids=shop.user_ids,
        item_ids=data.catalogue.item_ids,
        user=known.user,
        item=known.item,
        time=known.time,
        event_type=known.event_type,
        weight=known.weight.astype(np.float64),
        quantity=known.quantity.astype(np.float64),
        price=known.price.astype(np.float64),
        session=(session - none).astype(np.int32),
        session_ids=sessions[none:].astype(str).astype(object),
        event_id=None,
        catalogue=data.catalogue,
        from_events=(),
        users=pd.DataFrame(),
        report={
            "rows_read": len(known),
            "rows_kept": len(known),
            "dropped": {},
            "reasons": {},
            "files": [],
        },
    )


def asked(client: Any, surface: str, user_id: str, cart: list[str]) -> list[str]:
    if surface == "session":
        body = {"user_id": user_id, "items": cart, "n": PLACES}
        answer = client.post("/api/session/recommend", json=body)
    else:
        answer = client.get(f"/api/recommend/{user_id}?n={PLACES}&surface={surface}")
    assert answer.status_code == 200
    return [entry["item_id"] for entry in answer.json()["items"]]


def assert_same(found: list[str], measured: Ranking, row: int, ids: np.ndarray) -> None:
    """The same items at the same places, but for scores that are all but equal."""
    expected, scores = ids[measured.items[row]].tolist(), measured.scores[row]
    assert len(found) == min(PLACES, int(np.isfinite(scores).sum())), (found, expected, scores)
    for place, item in enumerate(found):
        tied = np.abs(scores - scores[place]) < TIE
        assert item in {expected[i] for i in np.flatnonzero(tied)}, (found, expected, scores)


@pytest.mark.parametrize("kinds", ["purchases", "mixed"])
@pytest.mark.parametrize("unit", ["days", "order"])
def test_a_node_answers_what_the_evaluation_measured(tmp_path, unit: str, kinds: str) -> None:
    data, windows = dataset(unit, kinds), WINDOWS[unit]
    (shop,) = data.shops
    known = split_shop(shop, windows).known
    # With dates an item is a candidate from its first event on; the node sells all that it has.
    assert unit == "order" or len(candidates_of(known, data.scored)) == N_ITEMS
    service = served(tmp_path, data, windows)
    vectors = service.engine.sources.space.vectors[:]
    result = evaluate(data, windows, vectors, {}, pooled=False, bootstrap=10, seed=SEED)
    validation, test = stages(shop, windows, data.scored, seed=SEED)
    service.learn(validation.cart_seed, validation_start=windows.validation_start)
    n_asked = 0
    with client_of(service) as client:
        for measured, surface in SURFACES.items():
            if measured not in result.shops[0].rankings:
                assert unit == "order"  # carts need visits
                continue
            ranking = result.shops[0].rankings[measured]["best-local"]
            carts = carts_of(test, measured, data)
            for row, user in enumerate(ranking.users.tolist()):
                user_id = shop.user_ids[user]
                found = asked(client, surface, user_id, carts.get(user, []))
                assert_same(found, ranking, row, data.catalogue.item_ids)
                n_asked += 1
    assert n_asked > 30


def carts_of(test: Stage, surface: str, data: Dataset) -> dict[int, list[str]]:
    """The halves of carts that the evaluation shows, by user code."""
    if surface != "basket":
        return {}
    queries = next(test.blocks())["basket"]
    events = queries.history.events
    ids = data.catalogue.item_ids
    return {
        int(user): ids[events.item[events.user == row]].tolist()
        for row, user in enumerate(queries.users.tolist())
    }
