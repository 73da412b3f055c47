"""Items as shops keep them: names, links, categories, labels, stock and dates."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from starlette.testclient import TestClient

from client.serving.features.item_table import ItemTable
from client.serving.service.service import Service
from client.store.schema import Item
from tests.client.serving.http.test_corners import ids, lists
from tests.client.serving.small_service import LINES

WHOLE: dict[str, Any] = {
    "item_id": "i0",
    "text": "beans from one farm",
    "category": "coffee",
    "brand": "acme",
    "price": 9.5,
    "in_stock": True,
    "hidden": False,
    "title": "Dark roast",
    "url": "https://shop.example/p/1?a=b",
    "image": "http://shop.example:8000/1.jpg",
    "categories": ["coffee", "gifts"],
    "labels": ["organic", "new"],
    "currency": "EUR",
    "stock": 3.0,
    "valid_from": "2024-01-01T00:00:00+00:00",
    "valid_to": "2099-02-01T00:00:00+00:00",
}
DATES = {"valid_from": "2024-01-01", "valid_to": "2099-01-31"}


def test_an_item_comes_back_as_it_was_sent(client: TestClient, service: Service) -> None:
    assert client.put("/api/items", json=[WHOLE | DATES]).status_code == 200
    assert client.get("/api/items/i0").json() == WHOLE
    assert client.get("/api/items?n=1").json()["items"] == [WHOLE]
    assert client.put("/api/items", json=[client.get("/api/items/i0").json()]).status_code == 200
    changed = client.patch("/api/items/i0", json={"labels": ["sale"], "stock": None}).json()
    assert changed == WHOLE | {"labels": ["sale"], "stock": None}
    with service.store.reading() as connection:
        from client.store.reading import read_items

        stored = read_items(connection)[0][1]
    assert stored == service.engine.items.item_at(0)
    assert ids(client.get("/api/popular?n=100&category=gifts")) == ["i0"]
    client.patch("/api/items/i0", json={"categories": ["coffee"]})
    assert ids(client.get("/api/popular?n=100&category=gifts")) == []


def test_the_title_is_encoded_with_the_text_once(client: TestClient, service: Service) -> None:
    assert Item("a", "Tea, drinks", title="Tea").encoded_text == "Tea, drinks"
    assert Item("a", "drinks", title="Tea").encoded_text == "Tea, drinks"
    assert Item("a", title="Tea").encoded_text == "Tea"
    before = service.engine.sources.space.vectors[0].copy()
    assert client.patch("/api/items/i0", json={"title": "private soap"}).status_code == 200
    item = service.engine.items.item_at(0)
    expected = service.texts.of_query(item.encoded_text)
    vectors = service.engine.sources.space.vectors
    assert abs(vectors[0] - expected).max() < 1e-6
    assert abs(vectors[0] - before).max() > 1e-3


@pytest.mark.parametrize(
    "change", [{"stock": 0}, {"valid_to": "2020-01-01"}, {"valid_from": "2090-01-01"}]
)
def test_sold_out_or_outside_its_dates_is_in_no_list(
    client: TestClient, change: dict[str, Any]
) -> None:
    assert any("i0" in shown for shown in lists(client, "i0").values())
    assert client.patch("/api/items/i0", json=change).status_code == 200
    assert not [name for name, shown in lists(client, "i0").items() if "i0" in shown]
    assert client.patch("/api/items/i0", json=dict.fromkeys(change)).status_code == 200
    missing = [name for name, shown in lists(client, "i0").items() if "i0" not in shown]
    assert missing in ([], ["buy-again"])


def test_dates_begin_and_end_without_a_request() -> None:
    now = [10.0]
    table = ItemTable(
        [Item("a", valid_from=11.0, valid_to=12.0), Item("b", valid_to=13.0), Item("c")],
        clock=lambda: now[0],
    )
    seen = []
    for now[0] in (10.0, 10.9, 11.0, 11.9, 12.0, 12.9, 13.0, 20.0):
        seen.append("".join("abc"[n] for n in range(3) if table.shown[n]))
    assert seen == ["bc", "bc", "abc", "abc", "bc", "bc", "c", "c"]
    table.put([Item("c", valid_from=21.0)])
    table.deny(["b"])
    assert not table.shown.any()
    now[0] = 21.0
    assert table.shown.tolist() == [False, False, True]


@pytest.mark.parametrize(
    "wrong",
    [
        {"image": "javascript:alert(1)"},
        {"url": "shop.example/p"},
        {"url": "https://"},
        {"image": "https://shop.example/a b.jpg"},
        {"image": 'https://shop.example/"onerror=x'},
        {"url": "https://shop.example:99999/"},
        {"currency": "Euro"},
        {"stock": -1},
        {"categories": [""]},
        {"labels": ["a"] * 51},
        {"valid_to": "soon"},
        {"valid_from": "2026-05-02", "valid_to": "2026-05-01"},
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_lost(
    client: TestClient, wrong: dict[str, Any]
) -> None:
    before = client.get("/api/items/i0").json()
    refusals = [
        client.put("/api/items", json=[{"item_id": "i0", **wrong}]),
        client.patch("/api/items/i0", json=wrong),
    ]
    for refused in refusals:
        assert refused.status_code == 422, refused.text
        error = refused.json()["error"]
        assert error["code"] == "invalid"
        assert error["remedy"]
    line = WHOLE | {"item_id": "i1"} | wrong
    import json

    bulk = client.post("/api/bulk?kind=items", content=json.dumps(line), headers=LINES)
    assert bulk.status_code == 422
    assert bulk.json()["error"]["details"][0]["line"] == 1
    assert client.get("/api/items/i0").json() == before


def test_dates_are_checked_against_the_stored_one(client: TestClient) -> None:
    assert client.patch("/api/items/i0", json={"valid_from": "2026-05-02"}).status_code == 200
    refused = client.patch("/api/items/i0", json={"valid_to": "2026-05-01"})
    assert refused.status_code == 422
    assert re.search("must be after valid_from", refused.json()["error"]["message"])
    assert client.get("/api/items/i0").json()["valid_to"] is None


def test_the_clock_is_the_machines() -> None:
    soon = time.time() / 86_400 + 0.3 / 86_400
    table = ItemTable([Item("a", valid_from=soon)])
    assert not table.shown.any()
    end = time.monotonic() + 120
    while not table.shown.any() and time.monotonic() < end:
        time.sleep(0.02)
    assert table.shown.all()
