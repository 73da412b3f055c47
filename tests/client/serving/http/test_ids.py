"""Ids of any text in every path, through a real server."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest

from client.serving.service.service import Service
from client.store import changes as writing
from client.store.schema import Item
from tests.browser import needs_browser, open_tab
from tests.client.serving.http.test_page import served
from tests.client.serving.small_service import opened

IDS = (
    "a/b",
    "a/similar",
    "a%2Fb",
    "/",
    "//x//",
    "50% off?#1&x=2+3;v=1",
    "../../etc",
    "Größe 4\u2009½ / \U0001f600",
    "a\\b",
    "similar",
)
LONG = "long/" * 300


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[tuple[str, Service]]:
    service = opened(tmp_path_factory.mktemp("ids"))
    with served(service) as url:
        yield url, service


@pytest.fixture
def node(running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running[0], timeout=120) as client:
        yield client


def path(kind: str, name: str) -> str:
    """A path as a careful caller writes it."""
    return f"/api/{kind}/{quote(name, safe='')}"


@pytest.mark.parametrize("name", IDS)
def test_every_route_takes_every_id(node, name: str) -> None:
    item = {"item_id": name, "text": f"private soap {name}", "category": "c9"}
    assert node.put("/api/items", json=[item, item | {"item_id": "a"}]).status_code == 200
    event = {"event_id": name, "user_id": name, "item_id": name}
    assert node.post("/api/feedback", json=[event]).status_code == 201
    assert node.get(path("items", name)).json()["item_id"] == name
    similar = node.get(f"{path('items', name)}/similar").json()["items"]
    assert name not in [entry["item_id"] for entry in similar]
    again = node.get(f"{path('recommend', name)}?surface=buy-again").json()
    assert (again["user_id"], [e["item_id"] for e in again["items"]]) == (name, [name])
    assert node.get(f"{path('users', name)}/profile").json()["events"] == 1
    assert node.get(f"{path('users', name)}/similar").status_code == 200
    assert node.delete(path("feedback", name)).json() == {"deleted": name}
    assert node.delete(path("users", name)).json()["deleted"] == name
    assert node.delete(path("items", name)).json() == {"deleted": name}
    assert node.get(path("items", name)).json()["error"]["code"] == "unknown"


def test_a_slash_that_is_not_escaped_still_parts(node) -> None:
    node.put("/api/items", json=[{"item_id": "a/similar", "text": "tea"}])
    assert node.get("/api/items/i1/similar").json()["items"][0]["score"]
    assert node.get("/api/items/a/b").json()["error"]["code"] == "no_such_route"
    assert node.get("/api%2Fpopular").json()["error"]["code"] == "no_such_route"
    assert node.get("/api/items/a%2Fsimilar").json()["item_id"] == "a/similar"


def test_an_id_that_an_import_brought_can_be_read_and_deleted(node, running) -> None:
    _, service = running
    odd = "two\nlines/and\x1fmore"
    vectors = service.texts.of_query("tea")[None]
    for name in (LONG, odd):
        service.store.write(
            lambda c, name=name: writing.put_items(c, [Item(name, "tea")]),
            lambda _, name=name: service.engine.put_items([Item(name, "tea")], vectors),
        ).result()
        assert node.get(path("items", name)).json()["item_id"] == name
        assert node.delete(path("items", name)).status_code == 200
    assert node.get("/api/items/a%00b").status_code == 422


@pytest.mark.slow
@needs_browser
def test_the_page_shows_every_id(node, running) -> None:
    url, service = running
    with open_tab() as tab:
        for name in ("b/similar", "50% on?#1&x=2+3;v=1", "//y//"):  # none that was deleted before
            node.put("/api/items", json=[{"item_id": name, "text": ""}])
            node.post("/api/feedback", json=[{"user_id": name, "item_id": name}])
            tab.show(f"{url}#/users/{quote(name, safe='')}", f"User {name}")
            tab.run("document.querySelector('section:nth-of-type(1) table a').click()")
            tab.has_heading(f"Item {name}")
            service.delete_item(name).result()
        assert tab.complaints == []


def test_ids_and_times_are_spelled_as_in_files(node) -> None:
    assert node.put("/api/items", json=[{"item_id": "7.0", "text": "pen"}]).status_code == 200
    event = {
        "event_id": "spelled",
        "user_id": "17.0",
        "item_id": "7",
        "session_id": "null",
        "time": "2024-05-31 14:00:00 Europe/Paris",
    }
    assert node.post("/api/feedback", json=[event]).status_code == 201
    again = node.get("/api/recommend/17.0?surface=buy-again").json()["items"]
    assert [entry["item_id"] for entry in again] == ["7"]
    stored = node.get("/api/feedback?user_id=17").json()["events"]
    assert [(row["user_id"], row["time"][:19]) for row in stored] == [("17", "2024-05-31T12:00:00")]
    assert node.get("/api/items/7.0").json()["item_id"] == "7"


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": "null"},
        {"user_id": "\\N"},
        {"user_id": "(null)"},
        {"item_id": "<NA>"},
        {"user_id": "1.2E+15"},
        {"time": "31/05/2024"},
        {"time": 45292},
        {"time": "2024-05-31 14:00:00 EST"},
    ],
)
def test_what_a_file_would_not_give_is_refused_by_name(node, change: dict[str, object]) -> None:
    event = {"user_id": "u", "item_id": "a"} | change
    for answer in (
        node.post("/api/feedback", json=[event]),
        node.post("/api/feedback", json=[{"user_id": "u", "item_id": "a"}, event]),
    ):
        assert answer.status_code == 422
        assert next(iter(change)) in answer.text


def test_half_a_letter_is_refused(node) -> None:
    body = rb'[{"user_id": "half \ud83d", "item_id": "a"}]'
    answer = node.post("/api/feedback", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
