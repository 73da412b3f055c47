"""Rules of the shop over HTTP: they move items, contradict each other or not, and are kept."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from client.serving.access.keys import AccessFiles, KeyRing, add_key
from client.serving.server import create_guarded_app
from client.serving.service.service import WEIGHTS_FACT, Service
from tests.client.serving.http.test_corners import ids
from tests.client.serving.small_service import N_ITEMS, client_of, opened


@pytest.fixture
def client(service: Service, client: TestClient) -> TestClient:
    """Asks once weights are learned, which moves items too."""
    end = time.monotonic() + 120
    while service.store.fact(WEIGHTS_FACT) is None and time.monotonic() < end:
        time.sleep(0.02)
    return client


def put(client: TestClient, name: str, status: int = 200, **rule: Any) -> Any:
    answer = client.put(f"/api/rules/{name}", json={"surfaces": ["for-you"], **rule})
    assert answer.status_code == status, answer.text
    return answer.json()


def for_you(client: TestClient, **asked: Any) -> list[str]:
    return ids(client.get("/api/recommend/u0", params={"n": 60, "preview": True, **asked}))


def test_pins_stand_at_their_places_and_everything_else_keeps_its_order(
    client: TestClient,
) -> None:
    before = for_you(client)
    put(client, "summer", effect="pin", items=["i50", "i7"], position=3)
    put(client, "late", effect="pin", items=["i31"], position=9)
    after = for_you(client)
    assert (after[2], after[3], after[8]) == ("i50", "i7", "i31")
    pinned = {"i50", "i7", "i31"}
    assert [i for i in after if i not in pinned] == [i for i in before if i not in pinned]
    client.patch("/api/items/i50", json={"stock": 0})  # a pin shows nothing that may not be shown
    assert for_you(client)[2:4] == [[i for i in before if i not in pinned][2], "i7"]
    assert client.delete("/api/rules/late").status_code == 200
    assert client.delete("/api/rules/late").status_code == 404
    assert for_you(client)[8] != "i31"


def test_boost_and_bury_by_items_category_and_label(client: TestClient) -> None:
    client.patch("/api/items/i8", json={"labels": ["organic"]})
    before = for_you(client)
    assert before[0] not in ("i8", "i10")
    put(client, "organic", effect="boost", label="organic", strength=50)
    assert for_you(client)[0] == "i8"
    put(client, "far", effect="bury", items=[before[0]], strength=50)
    assert for_you(client)[-1] == before[0]
    put(client, "c1", effect="boost", category="c1", strength=20)
    first = for_you(client, n=20)
    assert all(int(item[1:]) % 3 == 1 for item in first if item != "i8")
    assert ids(client.get("/api/recommend/u0?surface=buy-again&n=60")) != for_you(client)


@pytest.mark.parametrize("diversity", [0.0, 0.3])
def test_pages_are_slices_of_one_ranking(client: TestClient, diversity: float) -> None:
    client.patch("/api/items/i8", json={"labels": ["organic"]})
    put(client, "pins", effect="pin", items=["i50", "i7"], position=4)
    put(client, "pin12", effect="pin", items=["i31"], position=12)
    put(client, "up", effect="boost", category="c2", strength=1.5)
    put(client, "cap", effect="cap", most=9)
    whole = for_you(client, diversity=diversity)
    assert len(whole) == len(set(whole)) == 27
    pages = [
        ids(client.get(f"/api/recommend/u0?n=5&offset={at}&preview=1&diversity={diversity}"))
        for at in range(0, 35, 5)
    ]
    assert [item for page in pages for item in page] == whole
    assert sum(int(item[1:]) % 3 == 1 for item in whole) == 9  # pins count for their category


def test_caps_of_one_category_and_of_each(client: TestClient) -> None:
    put(client, "c0", effect="cap", category="c0", most=2)
    shown = for_you(client)
    assert sum(int(item[1:]) % 3 == 0 for item in shown) == 2
    assert len(shown) == N_ITEMS - 18
    put(client, "all", effect="cap", most=4)
    assert len(for_you(client)) == 2 + 4 + 4
    assert len(for_you(client, max_per_category=3)) == 2 + 3 + 3


@pytest.mark.parametrize("surface", ["similar", "search", "popular", "latest", "session"])
def test_each_surface_has_its_own_rules(client: TestClient, surface: str) -> None:
    def shown() -> dict[str, list[str]]:
        cart = {"items": ["i3"], "n": 40}
        return {
            "for-you": for_you(client),
            "session": ids(client.post("/api/session/recommend", json=cart)),
            "similar": ids(client.get("/api/items/i6/similar?n=40")),
            "popular": ids(client.get("/api/popular?n=40")),
            "latest": ids(client.get("/api/latest?n=40")),
            "search": ids(client.get("/api/search?q=apple&n=40")),
        }

    before = shown()
    put(client, "pin", effect="pin", items=["i50"], position=2, surfaces=[surface])
    put(client, "bury", effect="bury", category="c0", strength=50, surfaces=[surface])
    put(client, "cap", effect="cap", category="c1", most=3, surfaces=[surface])
    after = shown()
    assert [name for name in before if before[name] != after[name]] == [surface]
    assert after[surface][1] == "i50"
    assert len(set(after[surface])) == len(after[surface])
    groups = [int(item[1:]) % 3 for item in after[surface] if item != "i50"]
    assert groups.count(1) == 3
    assert groups == [*(g for g in groups if g), *(g for g in groups if not g)]


def test_an_explanation_names_the_rule_and_adds_up(client: TestClient) -> None:
    put(client, "summer", effect="pin", items=["i50"])
    put(client, "push", effect="boost", items=["i7"], strength=40)
    answer = client.get("/api/recommend/u0?n=3&explain=1").json()["items"]
    assert answer[0]["explanation"]["rules"] == [{"name": "summer", "effect": "pin"}]
    assert "rule summer puts it" in answer[0]["explanation"]["sentence"]
    assert answer[1]["item_id"] == "i7"
    assert answer[1]["explanation"]["signals"]["moved"] > 1
    assert "rules" not in answer[2]["explanation"]
    for entry in answer:
        total = sum(entry["explanation"]["signals"].values())
        assert total == pytest.approx(entry["score"], rel=1e-3, abs=1e-3)


def test_a_campaign_counts_between_its_dates(client: TestClient, monkeypatch: Any) -> None:
    before = for_you(client)
    rule = put(
        client,
        "easter",
        effect="pin",
        items=["i50"],
        valid_from="2030-04-01",
        valid_to="2030-04-07",
    )
    assert rule["active"] is False
    assert rule["valid_to"] == "2030-04-08T00:00:00+00:00"
    assert for_you(client) == before
    days = {"before": 22004.9, "within": 22011.9, "after": 22012.0}  # 2030-04-08 is day 22012
    for name, day in days.items():
        monkeypatch.setattr("client.serving.ranking.rules.today", lambda day=day: day)
        assert (for_you(client)[0] == "i50") == (name == "within")


def test_contradictions_are_refused_with_what_to_change(client: TestClient) -> None:
    put(client, "pin", effect="pin", items=["i0", "i3"])
    client.put("/api/settings/deny", json={"items": ["i9"]})
    client.patch("/api/items/i3", json={"labels": ["old"]})
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"effect": "bury", "items": ["i0"]}, "'pin' pins 'i0', 'new' buries it"),
        ({"effect": "bury", "category": "c0"}, "'pin' pins 'i0'"),
        ({"effect": "bury", "label": "old"}, "'pin' pins 'i3'"),
        ({"effect": "pin", "items": ["i0"], "position": 9}, "both pin 'i0'"),
        ({"effect": "pin", "items": ["i5"], "position": 2}, "both pin an item to place 2"),
        ({"effect": "pin", "items": ["i9"], "position": 9}, "'i9', which is denied"),
        ({"effect": "cap", "category": "c0", "most": 0}, "2 items of 'c0' are pinned"),
        ({"effect": "cap", "most": 1}, "2 items of 'c0' are pinned"),
    ]
    for rule, words in wrong:
        error = put(client, "new", 409, **rule)["error"]
        assert error["code"] == "rules_contradict"
        assert words in error["message"]
        assert error["remedy"]
        if "denied" not in words:  # on another surface it contradicts nothing
            put(client, "elsewhere", **rule, surfaces=["latest"])
            client.delete("/api/rules/elsewhere")
    put(client, "boost", effect="boost", category="c1")
    error = put(client, "new", 409, effect="bury", category="c1")["error"]
    assert "boosts 'c1'" in error["message"]
    put(client, "cap", effect="cap", category="c0", most=2)
    error = put(client, "new", 409, effect="pin", items=["i6"], position=9)["error"]
    assert "raise most=2 to 3" in error["remedy"]
    names = [rule["name"] for rule in client.get("/api/rules").json()["rules"]]
    assert names == ["pin", "boost", "cap"]
    put(client, "pin", effect="pin", items=["i3"])  # a rule does not contradict itself
    dates = {"valid_from": "2020-01-01", "valid_to": "2020-02-01"}
    put(client, "past", effect="bury", items=["i3"], **dates)


@pytest.mark.parametrize(
    "wrong",
    [
        {"effect": "pin"},
        {"effect": "pin", "category": "c0"},
        {"effect": "boost", "items": ["i0"], "category": "c0"},
        {"effect": "cap", "items": ["i0"]},
        {"effect": "cap", "most": -1},
        {"effect": "boost", "items": ["i0"], "strength": 0},
        {"effect": "pin", "items": ["i0"], "strength": 2},
        {"effect": "hide", "items": ["i0"]},
        {"effect": "pin", "items": ["i0"], "surfaces": []},
        {"effect": "pin", "items": ["i0"], "surfaces": ["home"]},
        {"effect": "pin", "items": ["i0"], "valid_from": "2026-02-02", "valid_to": "2026-02-01"},
    ],
)
def test_what_is_no_rule_is_refused(client: TestClient, wrong: dict[str, Any]) -> None:
    error = put(client, "new", 422, **wrong)["error"]
    assert error["code"] == "invalid"
    assert error["details"]
    assert client.get("/api/rules").json() == {"rules": []}


def test_unknown_items_categories_and_labels_are_refused(client: TestClient) -> None:
    for about in ({"items": ["nothing"]}, {"category": "c9"}, {"label": "none"}):
        error = put(client, "new", 404, effect="boost", **about)["error"]
        assert error["code"] == "unknown"
    assert client.put("/api/rules/a b", json={}).status_code == 422


def test_rules_are_kept_and_follow_a_deleted_item(tmp_path: Path) -> None:
    with client_of(opened(tmp_path)) as client:
        made = put(client, "summer", effect="pin", items=["i50", "i7"])
        sent = {k: v for k, v in made.items() if k not in ("name", "active")}
        assert put(client, "summer", **sent) == made
        client.delete("/api/items/i50")
        assert for_you(client)[0] == "i7"
    with client_of(opened(tmp_path)) as client:
        assert [rule["name"] for rule in client.get("/api/rules").json()["rules"]] == ["summer"]
        assert "i7" in for_you(client)[:2]


def test_a_write_key_changes_rules_and_the_audit_log_says_so(
    service: Service, tmp_path: Path
) -> None:
    files = AccessFiles(tmp_path / "shop.db")
    keys = {role: add_key(files, role, role) for role in ("read", "write")}
    app = create_guarded_app(service, KeyRing(files=files))
    rule = {"effect": "pin", "items": ["i50"], "surfaces": ["for-you"]}
    with TestClient(app, base_url="http://localhost") as client:
        for role, status in (("read", 403), ("write", 200)):
            sent = {"X-API-Key": keys[role]}
            assert client.put("/api/rules/a", json=rule, headers=sent).status_code == status
            assert client.get("/api/rules", headers=sent).status_code == 200
        for role, status in (("read", 403), ("write", 200)):
            sent = {"X-API-Key": keys[role]}
            assert client.delete("/api/rules/a", headers=sent).status_code == status
    lines = [json.loads(line) for line in files.audit.read_text().splitlines()]
    noted = [(x["method"], x["rule"], x["key"], x["status"]) for x in lines if "rule" in x]
    assert ("PUT", "a", "write", 200) in noted
    assert ("DELETE", "a", "write", 200) in noted
