"""Items of the same baskets: the next answer knows a basket, a refresh changes nothing of it."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from client.serving.service.service import Service
from client.serving.state.refresh import refresh_engine


def asked(client: TestClient, item_id: str, n: int = 5) -> list[dict[str, Any]]:
    answer = client.get(f"/api/items/{item_id}/bought-together?n={n}")
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def buy(client: TestClient, user: str, items: list[str], **more: Any) -> None:
    events = [
        {"event_id": f"{user}-{item}-{more}", "user_id": user, "item_id": item, **more}
        for item in items
    ]
    assert client.post("/api/feedback", json=events).status_code == 201


def test_baskets_count_at_once_and_the_same_after_a_refresh(
    client: TestClient, service: Service
) -> None:
    before = asked(client, "i0", 60)
    assert all(int(entry["item_id"][1:]) % 3 == 0 for entry in before)  # the taste of its buyers
    for number in range(30):
        user = f"u{number}" if number % 2 else f"new{number}"
        buy(client, user, ["i0", "i1"], session_id=f"basket-{number}")
    live = asked(client, "i0", 60)
    assert {entry["item_id"]: entry["baskets"] for entry in live}["i1"] == 30
    assert refresh_engine(service.engine)
    after = asked(client, "i0", 60)
    assert [e["item_id"] for e in after] == [e["item_id"] for e in live]
    assert [e["score"] for e in after] == pytest.approx([e["score"] for e in live])
    buy(client, "u1", ["i2"], session_id="basket-1")  # a basket grows
    found = {entry["item_id"]: entry["baskets"] for entry in asked(client, "i0", 60)}
    assert found["i2"] == 1


def test_a_view_is_no_basket_and_a_deleted_event_leaves_it(client: TestClient) -> None:
    buy(client, "u1", ["i1", "i2"], event_type="view", session_id="looked")
    assert "i2" not in {entry["item_id"] for entry in asked(client, "i1", 60)}
    buy(client, "solo", ["i1", "i2"], session_id="bought")
    assert "i2" in {entry["item_id"] for entry in asked(client, "i1", 60)}
    events = client.get("/api/feedback?user_id=solo").json()["events"]
    client.delete(f"/api/feedback/{events[0]['event_id']}")
    assert "i2" not in {entry["item_id"] for entry in asked(client, "i1", 60)}


def test_what_may_not_be_shown_is_left_out_and_rules_count(client: TestClient) -> None:
    first = asked(client, "i0")[0]["item_id"]
    client.patch(f"/api/items/{first}", json={"stock": 0})
    assert first not in {entry["item_id"] for entry in asked(client, "i0", 60)}
    rule = {"effect": "pin", "items": ["i1"], "surfaces": ["bought-together"]}
    assert client.put("/api/rules/a", json=rule).status_code == 200
    assert asked(client, "i0")[0]["item_id"] == "i1"
    assert client.get("/api/items/nothing/bought-together").status_code == 404
    client.put("/api/items", json=[{"item_id": "brand-new", "text": "apple"}])
    assert [entry["item_id"] for entry in asked(client, "brand-new")] == ["i1"]
