"""What a user does not like is not shown again, lowers what is like it, and can be taken back."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from client.serving.service.service import WEIGHTS_FACT, Service
from client.store.schema import dislikes
from client.store.training_data import stream_events
from tests.client.serving.http.test_corners import ids
from tests.client.serving.small_service import client_of, opened


@pytest.fixture
def client(service: Service, client: TestClient) -> TestClient:
    """Asks once weights are learned, which moves items too."""
    end = time.monotonic() + 120
    while service.store.fact(WEIGHTS_FACT) is None and time.monotonic() < end:
        time.sleep(0.02)
    return client


def shown(client: TestClient, user: str) -> dict[str, list[str]]:
    cart = {"items": ["i3"], "n": 100, "user_id": user}
    asked = {"user_id": user, "n": 100}
    return {
        **{
            surface: ids(client.get(f"/api/recommend/{user}?n=100&preview=1&surface={surface}"))
            for surface in ("for-you", "discover", "buy-again")
        },
        "session": ids(client.post("/api/session/recommend", json=cart)),
        "similar": ids(client.get("/api/items/i6/similar", params=asked)),
        "together": ids(client.get("/api/items/i6/bought-together", params=asked)),
        "popular": ids(client.get("/api/popular", params=asked)),
        "latest": ids(client.get("/api/latest", params=asked)),
        "search": ids(client.get("/api/search", params=asked | {"q": "apple"})),
    }


def dislike(client: TestClient, user: str, item: str, *, disliked: bool = True) -> None:
    answer = client.put(f"/api/users/{user}/dislikes/{item}", json={"disliked": disliked})
    assert answer.status_code == 200, answer.text


def test_it_is_on_no_surface_until_it_is_taken_back(client: TestClient) -> None:
    before, other = shown(client, "u0"), shown(client, "u3")
    item = before["buy-again"][0]
    dislike(client, "u0", item)
    dislike(client, "u0", item)  # said twice, it is one
    after = shown(client, "u0")
    assert not [name for name, items in after.items() if item in items]
    assert shown(client, "u3") == other
    assert client.get("/api/users/u0/dislikes").json()["items"] == [item]
    rule = {"effect": "pin", "items": [item], "surfaces": ["for-you"]}
    client.put("/api/rules/a", json=rule)  # nor does a rule show it
    assert item not in shown(client, "u0")["for-you"]
    client.delete("/api/rules/a")
    dislike(client, "u0", item, disliked=False)
    assert shown(client, "u0") == before


def test_what_is_like_it_is_lowered(client: TestClient, service: Service) -> None:
    answer = client.get("/api/recommend/u0?n=100&explain=1&preview=1").json()["items"]
    first = answer[0]["item_id"]
    dislike(client, "u0", first)
    near = service.engine.likeness(service.engine.items.rows_of([first]))
    entries = client.get("/api/recommend/u0?n=100&explain=1&preview=1").json()["items"]
    rows = service.engine.items.rows
    moved = [e["explanation"]["signals"].get("moved", 0.0) for e in entries if "explanation" in e]
    like = [float(near[rows[e["item_id"]]]) for e in entries if "explanation" in e]
    assert max(moved) <= 0
    assert np.corrcoef(moved, -np.maximum(like, 0))[0, 1] > 0.999
    for entry in entries[:10]:
        total = sum(entry["explanation"]["signals"].values())
        assert total == pytest.approx(entry["score"], rel=1e-3, abs=1e-3)
        carriers = entry["explanation"]["because"].values()
        assert not [one for of in carriers for one in of if one["item_id"] == first]


def test_nothing_of_it_is_trained_on_and_it_goes_with_user_and_item(
    client: TestClient, service: Service
) -> None:
    def events() -> int:
        with service.store.reading() as connection:
            return sum(len(batch) for batch in stream_events(connection))

    def stored() -> int:
        with service.store.reading() as connection:
            return int(connection.scalar(sa.select(sa.func.count()).select_from(dislikes)) or 0)

    n_events = events()
    for user, item in (("u0", "i0"), ("u0", "i3"), ("u1", "i0"), ("brand-new", "i5")):
        dislike(client, user, item)
    assert (events(), stored()) == (n_events, 4)
    lines = client.get("/api/users/u0/export").text.splitlines()
    said = [json.loads(line) for line in lines if '"dislike"' in line]
    assert [one["item_id"] for one in said] == ["i0", "i3"]
    client.delete("/api/users/u0")
    assert stored() == 2
    client.delete("/api/items/i0")
    assert stored() == 1
    assert client.put("/api/users/u0/dislikes/i5", json={}).status_code == 409  # deleted
    assert client.put("/api/users/u1/dislikes/gone", json={}).status_code == 404
    assert client.put("/api/users/u1/dislikes/i5", json={"disliked": "x"}).status_code == 422
    assert stored() == 1


def test_it_outlasts_a_restart(tmp_path: Path) -> None:
    with client_of(opened(tmp_path)) as client:
        dislike(client, "u0", "i0")
    with client_of(opened(tmp_path)) as client:
        assert client.get("/api/users/u0/dislikes").json()["items"] == ["i0"]
        assert "i0" not in shown(client, "u0")["for-you"]
