"""Search by words beside vectors, in a script that the small shop's encoder does not read."""

from __future__ import annotations

from typing import Any

from starlette.testclient import TestClient

TEXTS = {"tea": "有机绿茶 龙井", "coffee": "黑咖啡豆", "paste": "美白牙膏"}


def found(client: TestClient, query: str, **more: Any) -> list[str]:
    items = client.get("/api/search", params={"q": query, **more}).json()["items"]
    assert all(item["score"] > 0 for item in items)
    return [item["item_id"] for item in items]


def test_only_what_holds_words_of_the_query_is_found(client: TestClient) -> None:
    items = [{"item_id": item_id, "text": text} for item_id, text in TEXTS.items()]
    assert client.post("/api/items", json=items).status_code == 201
    assert found(client, "绿色的茶") == ["tea"]
    assert found(client, "绿色的茶", user_id="u1") == ["tea"]
    assert found(client, "咖啡") == ["coffee"]
    assert found(client, "电脑") == []
    client.patch("/api/items/tea", json={"text": "红酒"})
    assert found(client, "绿茶") == []
    assert found(client, "红酒") == ["tea"]
    client.patch("/api/items/tea", json={"hidden": True})
    assert found(client, "红酒") == []
    client.delete("/api/items/coffee")
    assert found(client, "咖啡") == []
