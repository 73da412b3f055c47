"""Uses over HTTP: scores with reasons, lists, and who is left out of both."""

from __future__ import annotations

import time

import numpy as np
import pytest
from starlette.testclient import TestClient

from shared.uses.registry import uses
from tests.client.serving.http.test_api import problem
from tests.client.serving.small_service import N_USERS, client_of, opened


def state_of(client: TestClient, name: str) -> dict[str, object]:
    rows = client.get("/api/uses").json()["uses"]
    return next(row for row in rows if row["name"] == name)


def listed(client: TestClient, name: str, limit: int = 100_000) -> list[dict[str, object]]:
    rows = client.get(f"/api/uses/{name}/list", params={"limit": limit}).json()["rows"]
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    return rows


def test_a_use_is_made_ready_by_who_first_asks(client) -> None:
    assert {row["name"] for row in client.get("/api/uses").json()["uses"]} == set(uses())
    assert state_of(client, "churn-4w")["state"] == "not asked yet"
    assert len(listed(client, "churn-4w", 7)) == 7
    ready = state_of(client, "churn-4w")
    assert (ready["state"], ready["reason"]) == ("ready", None)
    assert ready["examples"] > N_USERS
    assert state_of(client, "spend-4w")["state"] == "not asked yet"


def test_a_user_gets_what_the_list_says_within_20_ms(client) -> None:
    rows = {row["user_id"]: row for row in listed(client, "churn-4w")}
    told = client.get("/api/users/u7/uses").json()
    assert told["uses"]["churn-4w"]["of"] == len(rows) == N_USERS
    (answer,) = told["uses"]["churn-4w"]["answers"]
    assert answer == rows["u7"]
    assert len(told["uses"]["category-purchase"]["answers"]) == 3
    seconds = []
    for _ in range(9):
        begun = time.perf_counter()
        client.get("/api/users/u7/uses")
        seconds.append(time.perf_counter() - begun)
    assert np.median(seconds) < 0.02


def test_what_was_asked_for_is_ready_after_a_start(tmp_path) -> None:
    with client_of(opened(tmp_path)) as client:
        before = listed(client, "churn-4w")
    with client_of(opened(tmp_path)) as client:
        deadline = time.monotonic() + 300
        while state_of(client, "churn-4w")["state"] != "ready":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert state_of(client, "spend-4w")["state"] == "not asked yet"
        assert listed(client, "churn-4w") == before


def test_demand_is_listed_by_category(client) -> None:
    rows = listed(client, "demand")
    assert {row["category"] for row in rows} <= {"c0", "c1", "c2"}
    assert {row["weeks_ahead"] for row in rows} == {0, 1, 2, 3}
    assert all(row["low"] <= row["score"] <= row["high"] for row in rows)


def test_what_the_data_cannot_answer_says_why(client) -> None:
    code, kind = problem(client.get("/api/uses/campaign/list"))
    assert (code, kind) == (400, "refused")
    assert "campaigns" in client.get("/api/uses/campaign/list").json()["error"]["message"]
    assert "all shops" in client.get("/api/uses/price/list").json()["error"]["message"]
    assert "churn-4w" in client.get("/api/uses/nonsense/list").json()["error"]["message"]
    assert problem(client.get("/api/users/nobody/uses")) == (404, "unknown")
    assert problem(client.get("/api/uses/churn-4w/list?limit=0"))[0] == 422
    assert state_of(client, "campaign")["state"] == "skipped"


def test_who_refuses_or_was_deleted_is_in_no_list(client) -> None:
    assert {"u3", "u4"} <= {row["user_id"] for row in listed(client, "churn-4w")}
    client.put("/api/users/u3/consent", json={"training": "refuse"})
    client.delete("/api/users/u4")
    client.post("/api/users/u4/readmission")
    client.put(
        "/api/users", json=[{"user_id": "u4"}]
    )  # nothing of before may be told of the new one
    assert not {"u3", "u4"} & {row["user_id"] for row in listed(client, "churn-4w")}
    refused = client.get("/api/users/u3/uses").json()
    assert refused["uses"] == {}
    assert "trained on" in refused["reason"]
    assert client.get("/api/users/u4/uses").json()["uses"] == {}


def test_uses_follow_new_events_and_consent(client, service, monkeypatch) -> None:
    monkeypatch.setattr("client.serving.analytics.shop_uses.REFRESH_SECONDS", 0.0)
    before = listed(client, "churn-4w")
    examples = state_of(client, "churn-4w")["examples"]
    service.uses.refresh()
    assert listed(client, "churn-4w") == before  # nothing has happened
    client.put("/api/users/u3/consent", json={"training": "refuse"})
    service.uses.refresh()
    assert state_of(client, "churn-4w")["examples"] < examples
    sent = {"user_id": "u9", "item_id": "i1", "time": "2024-12-30T10:00:00Z"}
    client.post("/api/feedback", json=[sent])
    service.uses.refresh()
    assert [row["user_id"] for row in listed(client, "churn-4w")] == ["u9"]


@pytest.mark.parametrize("name", ["churn-4w", "category-purchase"])
def test_many_users_are_answered_in_groups_and_learned_from_by_sample(
    client, monkeypatch, name
) -> None:
    few = {"user": 40, "user-item": 40}
    monkeypatch.setattr("client.serving.analytics.use_answers.TRAINING_USERS", few)
    monkeypatch.setattr("client.serving.analytics.use_answers.GROUP_USERS", 30)
    monkeypatch.setattr("client.serving.analytics.use_answers.BEST", 2)
    rows = listed(client, name)
    users, times = np.unique([row["user_id"] for row in rows], return_counts=True)
    assert len(users) == N_USERS
    assert set(times) == {1 if name == "churn-4w" else 2}
    assert state_of(client, name)["examples"] < N_USERS * 20
