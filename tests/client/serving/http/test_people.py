"""What a person may ask of a node: everything that is held, consent, deletion and coming back."""

from __future__ import annotations

import json

from tests.client.serving.http.test_api import buy, problem
from tests.client.serving.small_service import LINES


def test_everything_that_is_held_comes_in_one_call(client) -> None:
    sent = {"event_id": "order/7", "user_id": "new", "item_id": "i1", "session_id": "visit-7"}
    client.post("/api/feedback", json=[sent | {"time": "2026-05-31T12:00:00Z", "price": 2.5}])
    answer = client.get("/api/users/new/export")
    assert answer.headers["content-type"] == "application/x-ndjson"
    user, event = map(json.loads, answer.text.splitlines())
    assert (user["kind"], user["training"]) == ("user", "nothing")
    assert (event["event_id"], event["session_id"]) == ("order/7", "visit-7")
    assert (event["time"], event["price"]) == ("2026-05-31T12:00:00+00:00", 2.5)
    imported = client.get("/api/users/u1/export").text.splitlines()
    assert len(imported) == 57
    assert {json.loads(line).get("session_id") for line in imported[1:]} == {
        f"{100 + visit}" for visit in range(8)
    }
    assert problem(client.get("/api/users/nobody/export")) == (404, "unknown")


def test_consent_is_stored_and_changes_no_answer(client) -> None:
    before = client.get("/api/recommend/u1").json()
    assert client.get("/api/users/u1/consent").json()["trained_on"] is True
    assert client.put("/api/users/u1/consent", json={"training": "refuse"}).status_code == 200
    assert client.get("/api/users/u1/consent").json() == {
        "user_id": "u1", "training": "refuse", "default": "opt-out", "trained_on": False,
    }  # fmt: skip
    assert client.get("/api/recommend/u1").json() == before
    client.put("/api/users", json=[{"user_id": "u1", "segment": "gold"}])
    assert client.get("/api/users/u1/consent").json()["training"] == "refuse"
    assert problem(client.put("/api/users/u1/consent", json={"training": "no"}))[0] == 422
    assert problem(client.put("/api/users/x/consent", json={"training": "refuse"}))[0] == 404


def test_who_was_deleted_comes_back_on_purpose_alone(client) -> None:
    stays = client.delete("/api/users/u2").json()["stays"]
    assert any("ledger" in entry["what"] for entry in stays)
    refused = client.post("/api/feedback", json=[{"user_id": "u2", "item_id": "i1"}])
    assert problem(refused) == (409, "exists")
    assert client.put("/api/users", json=[{"user_id": "u2"}]).status_code == 409
    lines = '{"event_id": "a", "user_id": "u2", "item_id": "i1"}\n'
    lines += '{"event_id": "b", "user_id": "u3", "item_id": "i1"}\n'
    bulk = client.post("/api/bulk", content=lines, headers=LINES).json()["error"]
    assert (bulk["stored"], bulk["refused"]) == (1, 1)
    assert client.post("/api/users/u2/readmission").json()["was_deleted"] is True
    buy(client, "u2", "i1")
    assert len(client.get("/api/feedback?user_id=u2").json()["events"]) == 1
