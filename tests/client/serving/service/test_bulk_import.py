"""Bulk import: streamed, durable batch by batch, exact about what was stored, and repeatable."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from client.recommenders.tables.item_vectors import ItemVectors
from client.serving.service.bulk_import import BATCH_LINES, MAX_LINE, MAX_REPORTED_FAULTS
from client.serving.service.settings import ServingSettings
from client.store.database import StoreFullError
from tests.client.serving.http.test_api import problem
from tests.client.serving.http.test_page import served
from tests.client.serving.small_service import LINES, opened


@pytest.fixture
def node(service) -> Iterator[httpx.Client]:
    """A real server: the test client would send a stream in one piece."""
    with served(service) as url, httpx.Client(base_url=url, timeout=120) as client:
        yield client


def events(n: int, *, first: int = 0) -> list[dict[str, object]]:
    return [
        {"event_id": f"e{k}", "user_id": f"bulk{k % 7}", "item_id": f"i{k % 60}"}
        for k in range(first, first + n)
    ]


def text(rows: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def stored(client) -> int:
    return int(client.get("/api/status").json()["events"])


def cut(content: bytes, size: int) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


@pytest.mark.parametrize("size", [1, 7, 65536])
def test_lines_are_stored_however_the_stream_is_cut(node, size: int) -> None:
    client = node
    before = stored(client)
    rows = events(BATCH_LINES + 20 if size > 1 else 20)
    content = text(rows).rstrip(b"\n").replace(b"\n", b"\r\n\n", 1)  # no end, an empty line
    found = client.post("/api/bulk", content=cut(content, size), headers=LINES).json()
    n = len(rows)
    assert found == {"lines": n, "stored": n, "repeated": 0, "refused": 0, "details": []}
    assert stored(client) == before + n
    again = client.post("/api/bulk", content=content, headers=LINES).json()
    assert (again["stored"], again["repeated"]) == (0, n)
    assert stored(client) == before + n


def test_wrong_lines_are_named_and_keep_no_other_out(client) -> None:
    rows = events(3 * BATCH_LINES)
    lines = text(rows).splitlines()
    lines[1] = b"{"
    lines[BATCH_LINES] = json.dumps(rows[BATCH_LINES] | {"item_id": "nope"}).encode()
    lines[BATCH_LINES + 1] = json.dumps(rows[BATCH_LINES + 1] | {"event_id": None}).encode()
    lines[BATCH_LINES + 2] = json.dumps(rows[BATCH_LINES + 2] | {"quantity": -1}).encode()
    lines[BATCH_LINES + 3] = json.dumps(rows[BATCH_LINES + 3] | {"time": "2400-01-01"}).encode()
    lines[-1] = b"\xff\xfe"
    before = stored(client)
    answer = client.post("/api/bulk", content=b"\n".join(lines), headers=LINES)
    assert problem(answer) == (422, "lines_refused")
    error = answer.json()["error"]
    assert (error["lines"], error["stored"], error["refused"]) == (1500, 1494, 6)
    wrong = {entry["line"]: entry["problem"] for entry in error["details"]}
    assert list(wrong) == [2, 501, 502, 503, 504, 1500]
    assert "JSON" in wrong[2]
    assert "item_id='nope' is not in the catalogue" in wrong[501]
    assert "event_id is missing" in wrong[502]
    assert wrong[503].startswith("quantity: ")
    assert stored(client) == before + 1494
    answer = client.post("/api/bulk", content=text(rows), headers=LINES)
    assert (answer.json()["stored"], answer.json()["repeated"]) == (6, 1494)


def test_many_wrong_lines_are_counted_and_the_first_named(client) -> None:
    error = client.post("/api/bulk", content=b"x\n" * 5000, headers=LINES).json()["error"]
    assert error["refused"] == 5000
    assert len(error["details"]) == MAX_REPORTED_FAULTS


def test_items_and_users_come_before_their_events_and_are_replaced(client) -> None:
    items = [{"item_id": f"n/{k}", "text": f"private soap {k}", "category": "c9"} for k in range(5)]
    for _ in range(2):
        found = client.post("/api/bulk?kind=items", content=text(items), headers=LINES).json()
        assert found["stored"] == 5
    assert client.get("/api/status").json()["items"] == 65
    users = [{"user_id": "vip", "segment": "gold"}]
    assert (
        client.post("/api/bulk?kind=users", content=text(users), headers=LINES).json()["stored"]
        == 1
    )
    assert client.get("/api/users/vip/profile").json()["segment"] == "gold"
    bought = [{"event_id": "e", "user_id": "vip", "item_id": "n/3"}]
    assert client.post("/api/bulk", content=text(bought), headers=LINES).json()["stored"] == 1
    again = client.get("/api/recommend/vip?surface=buy-again").json()["items"]
    assert [entry["item_id"] for entry in again] == ["n/3"]
    assert problem(client.post("/api/bulk?kind=nonsense", content=b"", headers=LINES)) == (
        422,
        "invalid",
    )


@pytest.mark.parametrize("way", ["put", "bulk"])
def test_an_item_twice_in_a_batch_is_encoded_once_and_counts_once(
    client, service, monkeypatch, way: str
) -> None:
    words = ["soap", "private soap", "private tea"]
    items = [{"item_id": "i3", "text": text} for text in words] + [{"item_id": "x", "text": "tea"}]
    encoded, real = [], service.texts.of_query
    monkeypatch.setattr(service.texts, "of_query", lambda t: encoded.append(t) or real(t))
    if way == "put":
        assert client.put("/api/items", json=items).status_code == 200
    else:
        assert (
            client.post("/api/bulk?kind=items", content=text(items), headers=LINES).json()["stored"]
            == 4
        )
    assert encoded == ["private tea", "tea"]
    assert client.get("/api/items/i3").json()["text"] == "private tea"
    found = service.engine.sources.space.vectors
    expected = ItemVectors.of(found[:])
    np.testing.assert_allclose(found.total, expected.total, atol=1e-6)
    np.testing.assert_allclose(found.gram, expected.gram, atol=1e-6)
    again = client.post("/api/items", json=[{"item_id": "n", "text": "tea"}] * 2)
    assert again.status_code == 409


def test_a_body_above_all_other_limits_goes_through_and_one_above_its_own_says_how_far(
    tmp_path,
) -> None:
    rows = [event | {"session_id": "s" * 200} for event in events(8 * BATCH_LINES)]
    service = opened(tmp_path, max_body=2000, max_bulk=len(text(rows)) - 1000)
    with served(service) as url, httpx.Client(base_url=url, timeout=120) as client:
        before = stored(client)
        assert (
            client.post("/api/bulk", content=text(rows[:BATCH_LINES]), headers=LINES).json()[
                "stored"
            ]
            == BATCH_LINES
        )
        answer = client.post("/api/bulk", content=cut(text(rows), 5000), headers=LINES)
        assert problem(answer) == (413, "too_large")
        done = answer.json()["error"]
        assert done["repeated"] == BATCH_LINES
        assert BATCH_LINES <= done["stored"] < 7 * BATCH_LINES
        assert stored(client) == before + BATCH_LINES + done["stored"]
        assert problem(client.post("/api/bulk", content=text(rows), headers=LINES)) == (
            413,
            "too_large",
        )


def test_a_line_that_only_the_store_refuses_keeps_no_other_out(
    client, service, monkeypatch
) -> None:
    real = service.add_events

    def late(rows):
        if "i5" in service.engine.items.rows:
            service.delete_item("i5").result()  # after its line was read
        return real(rows)

    monkeypatch.setattr(service, "add_events", late)
    answer = client.post("/api/bulk", content=text(events(20)), headers=LINES)
    assert problem(answer) == (422, "lines_refused")
    error = answer.json()["error"]
    assert (error["lines"], error["stored"], error["refused"]) == (20, 19, 1)
    (refused,) = error["details"]
    assert refused["line"] == 6
    assert "item_id='i5' is not in the catalogue" in refused["problem"]
    mine = client.get("/api/recommend/bulk1?surface=buy-again&n=20").json()["items"]
    assert {entry["item_id"] for entry in mine} == {"i1", "i8", "i15"}


def test_a_line_without_end_is_refused_before_it_fills_the_memory(node) -> None:
    client = node
    content = text(events(BATCH_LINES)) + b"x" * (3 * MAX_LINE)
    answer = client.post("/api/bulk", content=cut(content, 50_000), headers=LINES)
    assert problem(answer) == (422, "invalid")
    assert answer.json()["error"]["stored"] == BATCH_LINES
    assert f"line {BATCH_LINES + 1} has more than {MAX_LINE} bytes" in answer.text
    assert ServingSettings().max_bulk > MAX_LINE


def test_a_fault_of_the_store_ends_the_import_and_says_how_far_it_came(
    client, service, monkeypatch
) -> None:
    real, calls = service.add_events, []

    def full(rows):
        calls.append(len(rows))
        if len(calls) == 3:
            raise StoreFullError("its disk is full", name="store", value="x", remedy="free space")
        return real(rows)

    monkeypatch.setattr(service, "add_events", full)
    answer = client.post("/api/bulk", content=text(events(5 * BATCH_LINES)), headers=LINES)
    assert problem(answer) == (507, "disk_full")
    assert answer.json()["error"]["stored"] == 2 * BATCH_LINES
    assert calls == [BATCH_LINES] * 3
    monkeypatch.undo()
    again = client.post("/api/bulk", content=text(events(5 * BATCH_LINES)), headers=LINES).json()
    assert (again["stored"], again["repeated"]) == (3 * BATCH_LINES, 2 * BATCH_LINES)
