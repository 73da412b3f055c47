"""Whether the online counters say what happened, and the A/B switch who got what."""

from __future__ import annotations

import math

import numpy as np
import pytest

from client.serving.analytics.ab_test import (
    MAX_SHOWN_OF_USER,
    OnlineCounters,
    comparisons,
    variant_of,
)
from client.serving.analytics.intervals import newcombe_difference, sum_interval, wilson_interval
from tests.client.serving.small_service import client_of, opened


def shown(client, user_id: str, surface: str, n: int = 5, **more) -> list[str]:
    query = {"surface": surface, "n": n} | more
    found = client.get(f"/api/recommend/{user_id}", params=query).json()["items"]
    return [entry["item_id"] for entry in found]


def did(client, user_id: str, item_id: str, event_type: str) -> None:
    event = {"user_id": user_id, "item_id": item_id, "event_type": event_type}
    assert client.post("/api/feedback", json=[event]).status_code == 201


def counts(client) -> dict[str, tuple[int, int, int]]:
    found = client.get("/api/online").json()["surfaces"]
    return {e["surface"]: (e["impressions"], e["clicks"], e["purchases"]) for e in found}


def test_a_page_with_several_surfaces_counts_for_the_one_that_showed_the_item(client) -> None:
    first = shown(client, "u1", "for-you")
    second = shown(client, "u1", "discover")
    (only_first, *_) = [item for item in first if item not in second]
    (only_second, *_) = [item for item in second if item not in first]
    later = shown(client, "u1", "for-you", offset=5)
    for item, kind in ((only_first, "click"), (only_second, "purchase"), (later[0], "purchase")):
        did(client, "u1", item, kind)
    assert counts(client) == {"for-you": (10, 1, 1), "discover": (5, 0, 1)}


def test_each_showing_counts_one_click_and_one_purchase_at_most(client) -> None:
    item = shown(client, "u1", "for-you")[0]
    for kind in ("click", "click", "view", "purchase", "purchase", "click"):
        did(client, "u1", item, kind)
    assert counts(client) == {"for-you": (5, 1, 1)}
    assert shown(client, "u1", "for-you")[0] == item
    did(client, "u1", item, "click")
    did(client, "u2", item, "purchase")  # somebody who was shown nothing
    assert counts(client) == {"for-you": (10, 2, 1)}


def test_new_customers_and_carts_with_a_name_count_and_previews_do_not(client) -> None:
    item = shown(client, "never seen", "for-you")[0]
    did(client, "never seen", item, "purchase")
    cart = {"items": ["i1"], "user_id": "u1", "n": 4}
    found = client.post("/api/session/recommend", json=cart).json()["items"]
    did(client, "u1", found[0]["item_id"], "purchase")
    client.post("/api/session/recommend", json=cart | {"preview": True})
    client.post("/api/session/recommend", json={"items": ["i1"]})
    shown(client, "u2", "for-you", preview=True)
    assert counts(client) == {"for-you": (5, 0, 1), "session": (4, 0, 1)}
    assert client.delete("/api/users/u1").status_code == 200
    assert counts(client)["session"] == (4, 0, 1)


def test_signals_split_what_their_surface_has(client) -> None:
    for number in range(20):
        item = shown(client, f"u{number}", "for-you")[0]
        if number % 2:
            did(client, f"u{number}", item, "click")
        did(client, f"u{number}", item, "purchase")
    (entry,) = client.get("/api/online").json()["surfaces"]
    assert (entry["impressions"], entry["clicks"], entry["purchases"]) == (100, 10, 20)
    signals = entry["signals"].values()
    for name in ("impressions", "clicks", "purchases"):
        assert sum(one[name] for one in signals) == entry[name]
    for one in signals:
        assert one["purchase_rate"] == wilson_interval(one["purchases"], one["impressions"])
        assert one["click_rate"] == wilson_interval(one["clicks"], one["impressions"])


def test_what_is_remembered_of_shown_items_is_bounded(client, service, monkeypatch) -> None:
    monkeypatch.setattr("client.serving.analytics.ab_test.MAX_SHOWN", 12)
    for number in range(5):
        item = shown(client, f"u{number}", "for-you")[0]
    did(client, "u0", item, "purchase")
    assert service.online._n_shown == 10
    assert set(service.online._shown) == {"u3", "u4"}
    assert sum(len(found) for found in service.online._shown.values()) == 10


def test_who_bought_all_that_was_shown_is_not_remembered(client, service) -> None:
    items = shown(client, "u1", "for-you", n=3)
    for number, item in enumerate(items):
        assert set(service.online._shown["u1"]) == set(items[number:])
        did(client, "u1", item, "click")
        did(client, "u1", item, "purchase")
        assert not service.online._clicked.get("u1")
    assert service.online._shown == service.online._clicked == {}
    assert service.online._n_shown == 0
    assert counts(client) == {"for-you": (3, 3, 3)}
    assert shown(client, "u1", "for-you", n=3)
    assert service.online._n_shown == 3


def test_one_user_is_remembered_up_to_a_bound() -> None:
    online = OnlineCounters()
    names = [f"i{n}" for n in range(MAX_SHOWN_OF_USER + 50)]
    online._clicked["u"] = {"of long ago", *names}
    online._shown["u"] = {"of long ago": ("for-you", "fused", "ease")}
    online._n_shown = 1
    online.show("u", [0] * len(names), names, ("for-you", "fused"))
    assert list(online._shown["u"]) == names[50:]
    assert online._n_shown == MAX_SHOWN_OF_USER
    assert online._clicked["u"] == set()
    assert online.report()[0]["impressions"] == MAX_SHOWN_OF_USER + 50


def test_the_switch_gives_its_share_of_users_local_answers_and_compares(tmp_path) -> None:
    with client_of(opened(tmp_path, local_share=0.5)) as client:
        variants = {}
        for number in range(80):
            found = client.get(f"/api/recommend/u{number}?n=5").json()
            again = client.get(f"/api/recommend/u{number}?n=5&surface=discover").json()
            variants[f"u{number}"] = found["variant"]
            assert again["variant"] == found["variant"]
            if found["variant"] == "fused" or number % 8 == 0:
                did(client, f"u{number}", found["items"][0]["item_id"], "purchase")
        (compared, _) = client.get("/api/online").json()["comparisons"][::-1]
    assert 20 < list(variants.values()).count("local") < 60
    assert compared["surface"] == "for-you"
    gain = compared["purchase_rate"]
    assert 0 < gain["low"] < gain["value"] < gain["high"]
    assert compared["click_rate"]["low"] < 0 < compared["click_rate"]["high"]


def test_a_larger_share_keeps_the_users_of_a_smaller_one() -> None:
    names = [f"user-{n}" for n in range(20_000)]
    local = [
        {name for name in names if variant_of(name, local_share=s) == "local"} for s in (0.1, 0.3)
    ]
    assert local[0] < local[1]
    assert [len(found) / len(names) for found in local] == pytest.approx([0.1, 0.3], abs=0.01)
    assert variant_of(None, local_share=1.0) == "fused"
    assert variant_of("anybody", local_share=1.0) == "local"


def test_no_comparison_where_one_variant_was_never_shown() -> None:
    entry = {"surface": "for-you", "click_rate": None, "purchase_rate": None}
    assert comparisons([entry | {"variant": "fused"}]) == []


def test_intervals_are_the_published_ones() -> None:
    """Newcombe 1998, table II, example (a): 56/70 - 48/80, method 10."""
    found = newcombe_difference(wilson_interval(56, 70), wilson_interval(48, 80))
    assert found is not None
    assert found["value"] == pytest.approx(0.2)
    assert (round(found["low"], 4), round(found["high"], 4)) == (0.0524, 0.3339)
    assert newcombe_difference(wilson_interval(1, 2), wilson_interval(0, 0)) is None


def test_intervals_hold_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        first, second = rng.binomial(400, 0.05), rng.binomial(300, 0.08)
        found = newcombe_difference(wilson_interval(first, 400), wilson_interval(second, 300))
        assert found is not None
        held += found["low"] <= -0.03 <= found["high"]
    assert math.isclose(held / 2000, 0.95, abs_tol=0.02)


def test_an_interval_of_a_sum_covers_it_and_few_purchases_have_none() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        amounts = rng.binomial(1, 0.05, 1000) * rng.choice([2.0, 20.0], 1000)  # mean 0.55
        found = sum_interval(
            float(amounts.sum()),
            float((amounts**2).sum()),
            purchases=int((amounts > 0).sum()),
            trials=1000,
        )
        assert found["low"] is not None
        assert found["high"] is not None
        covered += found["low"] <= 550.0 <= found["high"]
    assert 0.91 <= covered / 300 <= 0.99
    assert sum_interval(9.0, 81.0, purchases=1, trials=10)["low"] is None


def test_outcomes_say_what_was_bought_for_how_much_and_what_was_never_shown(tmp_path) -> None:
    with client_of(opened(tmp_path)) as client:
        before = client.get("/api/outcomes").json()
        assert (before["since"], before["total"]["revenue"]) == (None, [])
        assert before["coverage"]["shown"] == 0
        items = shown(client, "u1", "for-you")
        did(client, "u1", items[1], "click")
        price = client.get(f"/api/items/{items[0]}").json()["price"]
        bought = {"user_id": "u1", "item_id": items[0], "event_type": "purchase", "quantity": 3}
        client.post("/api/feedback", json=[bought])
        client.post("/api/feedback", json=[{**bought, "item_id": items[1], "price": 100}])
        found = client.get("/api/outcomes").json()
        total = found["total"]
        assert (total["impressions"], total["clicks"], total["purchases"]) == (5, 1, 2)
        (money,) = total["revenue"]
        assert (money["value"], money["low"]) == (3 * price + 300, None)
        assert found["weeks"] == [{"week": found["since"], **total}]
        assert not found["enough"]
        coverage = found["coverage"]
        assert coverage["shown"] == 5
        assert coverage["never_shown"] == coverage["showable"] - 5
        assert not {one["item_id"] for one in coverage["never"]} & set(items)
        assert client.delete("/api/users/u1").status_code == 200
        assert client.get("/api/outcomes").json()["total"] == total


def test_outcomes_outlast_a_restart_and_a_state_without_them_is_read(tmp_path) -> None:
    with client_of(opened(tmp_path)) as client:
        item = shown(client, "u1", "for-you")[0]
        did(client, "u1", item, "purchase")
        before = client.get("/api/outcomes").json()
    with client_of(opened(tmp_path)) as client:
        assert client.get("/api/outcomes").json() == before
    old = OnlineCounters()
    old.load({"impressions": [["for-you", "fused", "text", 3]]})
    assert old.outcomes().weeks == {}
    assert old.report()[0]["impressions"] == 3
