"""Right in every corner: denied items, empty carts, pages, changes of a price alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from client.serving.service.service import Service
from shared.errors import ConfigError
from tests.client.serving.small_service import N_ITEMS, client_of, opened


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [entry["item_id"] for entry in answer.json()["items"]]


def lists(client: TestClient, item_id: str) -> dict[str, list[str]]:
    """Every list that could show an item."""
    text = client.get(f"/api/items/{item_id}").json()["text"]
    user = "u0" if int(item_id[1:]) % 3 == 0 else "u1"
    cart = {"items": ["i3", "i4"], "n": 100}
    return {
        "for-you": ids(client.get(f"/api/recommend/{user}?n=100")),
        "buy-again": ids(client.get(f"/api/recommend/{user}?n=100&surface=buy-again")),
        "unknown": ids(client.get("/api/recommend/nobody?n=100")),
        "session": ids(client.post("/api/session/recommend", json=cart)),
        "similar": ids(client.get("/api/items/i6/similar?n=100")),
        "popular": ids(client.get("/api/popular?n=100")),
        "latest": ids(client.get("/api/latest?n=100")),
        "search": ids(client.get("/api/search", params={"q": text, "n": 100})),
    }


def test_what_is_not_shown_is_in_no_list(client: TestClient) -> None:
    before = lists(client, "i0")
    assert all("i0" in found for name, found in before.items() if name != "buy-again")
    for change in ({"in_stock": False}, {"hidden": True}):
        assert client.patch("/api/items/i0", json=change).status_code == 200
        assert not [name for name, found in lists(client, "i0").items() if "i0" in found]
        back = {name: not value for name, value in change.items()}
        assert client.patch("/api/items/i0", json=back).status_code == 200
    assert client.put("/api/settings/deny", json={"items": ["i0", "i9"]}).status_code == 200
    assert not [name for name, found in lists(client, "i0").items() if {"i0", "i9"} & {*found}]
    item = {"item_id": "i0", "text": "frozen apple"}
    assert client.put("/api/items", json=[item]).status_code == 200  # it stays denied
    assert not [name for name, found in lists(client, "i0").items() if "i0" in found]
    assert client.put("/api/settings/deny", json={"items": []}).status_code == 200
    assert all("i0" in found for name, found in lists(client, "i0").items() if name != "buy-again")


def test_denied_items_stay_denied_and_unknown_ids_change_nothing(tmp_path: Path) -> None:
    with client_of(opened(tmp_path, deny=("i7",))) as client:
        assert client.put("/api/settings/deny", json={"items": ["i5"]}).status_code == 200
        refused = client.put("/api/settings/deny", json={"items": ["i6", "nothing"]})
        assert refused.status_code == 404
        assert "'nothing'" in refused.json()["error"]["message"]
        assert client.get("/api/settings/deny").json() == {"items": ["i5"], "fixed": ["i7"]}
    with client_of(opened(tmp_path)) as client:
        assert client.get("/api/settings/deny").json() == {"items": ["i5"], "fixed": []}
        found = ids(client.get("/api/popular?n=100"))
        assert "i5" not in found
        assert "i7" in found
    with pytest.raises(ConfigError, match="deny='nothing' is not in the catalogue"):
        opened(tmp_path, deny=("nothing",))


def test_an_empty_cart_gets_what_is_popular_and_varied(
    client: TestClient, service: Service
) -> None:
    asked = {"items": [], "n": 12}
    new = ids(client.post("/api/session/recommend", json=asked))
    assert ids(client.post("/api/session/recommend", json=asked | {"items": ["gone"]})) == new
    assert new != [f"i{n}" for n in range(12)]  # the order of the file
    popular = ids(client.get("/api/popular?n=40"))
    assert set(new) <= set(popular)
    assert _likeness(service, new) < _likeness(service, popular[:12])


def _likeness(service: Service, item_ids: list[str]) -> float:
    """Mean cosine of the texts of each two items."""
    vectors = service.engine.sources.space.vectors[[int(i[1:]) for i in item_ids]]
    return float(np.mean((vectors @ vectors.T)[~np.eye(len(vectors), dtype=bool)]))


@pytest.mark.parametrize("options", ["", "&diversity=0.6", "&max_per_category=7", "&category=c1"])
def test_pages_are_slices_of_one_ranking(client: TestClient, options: str) -> None:
    whole = ids(client.get(f"/api/recommend/u1?n=60&preview=true{options}"))
    pages: list[str] = []
    offset: int | None = 0
    while offset is not None:
        answer = client.get(f"/api/recommend/u1?n=7&offset={offset}&preview=true{options}")
        pages += ids(answer)
        offset = answer.json()["next_offset"]
    assert pages == whole
    assert len(set(pages)) == len(pages)
    if "max_per" in options:
        assert len(whole) == 21  # three categories of seven, none short


def test_the_next_page_is_never_one_that_is_refused(client: TestClient) -> None:
    items = [{"item_id": f"more-{n}", "text": "soap"} for n in range(1000)]
    client.post("/api/items", json=items)
    last = client.get("/api/recommend/u1?n=50&offset=1000&preview=true").json()
    assert len(last["items"]) == 50 < N_ITEMS
    assert last["next_offset"] is None
    assert (
        client.get("/api/recommend/u1?n=50&offset=950&preview=true").json()["next_offset"] == 1000
    )


def test_a_price_or_the_stock_changes_alone(client: TestClient, service: Service) -> None:
    before = client.get("/api/items/i3").json()
    vector = service.engine.sources.space.vectors[3].copy()
    assert client.patch("/api/items/i3", json={"price": 4.5}).json() == {**before, "price": 4.5}
    assert client.patch("/api/items/i3", json={"in_stock": False}).status_code == 200
    now = client.get("/api/items/i3").json()
    assert now == {**before, "price": 4.5, "in_stock": False}
    (row,) = [i for i in client.get("/api/items?n=1000").json()["items"] if i["item_id"] == "i3"]
    assert (row["price"], row["in_stock"], row["text"]) == (4.5, False, before["text"])
    assert (service.engine.sources.space.vectors[3] == vector).all()
    assert client.patch("/api/items/i3", json={"price": None}).json()["price"] is None
    client.patch("/api/items/i3", json={"text": "private bread"})
    assert not (service.engine.sources.space.vectors[3] == vector).all()


@pytest.mark.parametrize(
    ("item_id", "change", "status"),
    [
        ("i3", {}, 422),
        ("i3", {"text": None}, 422),
        ("i3", {"price": -1}, 422),
        ("i3", {"colour": "red"}, 422),
        ("i3", {"item_id": "i4"}, 422),
        ("nothing", {"price": 1}, 404),
    ],
)
def test_wrong_changes_are_refused(
    client: TestClient, item_id: str, change: dict[str, Any], status: int
) -> None:
    before = client.get("/api/items/i3").json()
    assert client.patch(f"/api/items/{item_id}", json=change).status_code == status
    assert client.get("/api/items/i3").json() == before


def test_explanations_stop_when_their_time_is_spent(tmp_path: Path) -> None:
    with client_of(opened(tmp_path, answer_seconds=1e-9)) as client:
        answer = client.get("/api/recommend/u1?n=20&explain=true&preview=true").json()
        assert answer["complete"] is False
        assert "explanation" in answer["items"][0]
        assert len(answer["items"]) == 20
        assert "explanation" not in answer["items"][-1]
