"""Gorse's own Python client, every call of it, against a node that listens."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from gorse import AsyncGorse, Gorse, GorseException
from starlette.testclient import TestClient

from client.serving.access.keys import AccessFiles, KeyRing, add_key, make_owner_key
from client.serving.service.service import Service
from tests.client.serving.http.test_page import served
from tests.client.serving.small_service import N_ITEMS, opened

DAY = "2024-05-0{}T00:00:00Z"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("gorse")
    access = AccessFiles(folder / "shop.db")
    make_owner_key(access)
    (folder / "reader").write_text(add_key(access, "reader", "read"))
    (folder / "writer").write_text(add_key(access, "writer", "write"))
    with served(opened(folder, feedback_types={"unlock": "purchase"}), KeyRing(access)) as url:
        yield f"{url.rstrip('/')}/gorse", folder


@pytest.fixture
def gorse(node: tuple[str, Path]) -> Gorse:
    return Gorse(node[0], AccessFiles(node[1] / "shop.db").owner_key.read_text().strip())


def test_users(gorse: Gorse) -> None:
    ann = {"UserId": "ann", "Labels": {"gender": "F", "age": 24}, "Comment": "a friend"}
    bob = {"UserId": "bob", "Labels": ["a", "b"], "Comment": ""}
    assert gorse.insert_user(ann) == {"RowAffected": 1}
    assert gorse.insert_users([bob, {"UserId": "eve"}]) == {"RowAffected": 2}
    assert gorse.get_user("ann") == ann
    listed, cursor = [], ""
    while True:
        page, cursor = gorse.get_users(50, cursor)
        listed += page
        if not cursor:
            break
    assert ann in listed
    assert bob in listed
    assert len({user["UserId"] for user in listed}) == len(listed)
    assert gorse.delete_user("eve") == {"RowAffected": 1}
    with pytest.raises(GorseException) as missing:
        gorse.get_user("eve")
    assert missing.value.status_code == 404


def test_items(gorse: Gorse) -> None:
    item = {
        "ItemId": "vuejs:vue",
        "IsHidden": False,
        "Labels": {"language": "JavaScript", "embedding": [0.5, 1]},
        "Categories": ["framework", "web"],
        "Timestamp": "2022-02-24T00:00:00Z",
        "Comment": "a framework for pages",
    }
    assert gorse.insert_item(item) == {"RowAffected": 1}
    assert gorse.get_item("vuejs:vue") == item
    changed = gorse.update_item("vuejs:vue", is_hidden=True, comment="of Vue")
    assert changed == {"RowAffected": 1}
    assert gorse.get_item("vuejs:vue") == item | {"IsHidden": True, "Comment": "of Vue"}
    assert gorse.update_item("vuejs:vue", is_hidden=False, timestamp="2023-01-02") is not None
    assert gorse.get_item("vuejs:vue")["Timestamp"] == "2023-01-02T00:00:00Z"
    listed, cursor = gorse.get_items(N_ITEMS + 1)
    assert "vuejs:vue" in [one["ItemId"] for one in listed]
    assert cursor == ""
    assert len(gorse.get_items(5)[0]) == 5
    assert gorse.search_items("JavaScript of Vue", 3)[0]["ItemId"] == "vuejs:vue"
    assert gorse.delete_item("vuejs:vue") == {"RowAffected": 1}
    with pytest.raises(GorseException) as missing:
        gorse.get_item("vuejs:vue")
    assert missing.value.status_code == 404


def test_feedback_of_own_types(gorse: Gorse) -> None:
    # Users and items that nobody has sent come with their first feedback.
    assert gorse.insert_feedback("star", "carl", "d3:d3", DAY.format(1), 2.5) == {"RowAffected": 1}
    more = [
        {"FeedbackType": kind, "UserId": "carl", "ItemId": item, "Timestamp": DAY.format(day)}
        for kind, item, day in (("star", "i1", 2), ("Star", "i1", 3), ("unlock", "i2", 4))
    ]
    assert gorse.insert_feedbacks(more) == {"RowAffected": 3}
    assert gorse.insert_feedbacks(more) == {"RowAffected": 3}
    star, other = gorse.list_feedbacks("star", "carl")
    assert star["Value"] == 2.5
    assert (star["ItemId"], star["Timestamp"]) == ("d3:d3", DAY.format(1))
    assert (other["FeedbackType"], other["ItemId"]) == ("star", "i1")
    assert [one["ItemId"] for one in gorse.list_feedbacks("Star", "carl")] == ["i1"]
    page, cursor = gorse.get_feedbacks(100)
    assert len(page) == 100
    following, _ = gorse.get_feedbacks(100, cursor)
    assert page[0]["FeedbackType"] == "purchase"
    assert following[0] not in page
    assert gorse.delete_feedback("carl", "i1") == {"RowAffected": 2}
    assert gorse.delete_feedback("carl", "i1") == {"RowAffected": 0}
    assert [one["ItemId"] for one in gorse.list_feedbacks("star", "carl")] == ["d3:d3"]


def test_recommendations_leave_out_what_a_user_has_given_feedback_on(gorse: Gorse) -> None:
    gorse.insert_feedback("star", "dora", "i0", DAY.format(1))
    first = gorse.get_recommend("dora", n=10)
    assert len(first) == 10
    assert "i0" not in [one.id for one in first]
    assert [one.score for one in first] == sorted((one.score for one in first), reverse=True)
    assert [one.id for one in gorse.get_recommend("dora", n=4, offset=3)] == [
        one.id for one in first[3:7]
    ]
    inside = gorse.get_recommend("dora", category="c1", n=5)
    assert {gorse.get_item(one.id)["Categories"][0] for one in inside} == {"c1"}


def test_what_is_written_back_is_shown_no_more_once_its_time_has_come(gorse: Gorse) -> None:
    shown = gorse.get_recommend("finn", n=3, write_back_type="read")
    after = gorse.get_recommend("finn", n=3, write_back_type="read", write_back_delay="10h")
    assert not {one.id for one in shown} & {one.id for one in after}
    again = {one.id for one in gorse.get_recommend("finn", n=N_ITEMS)}
    assert not {one.id for one in shown} & again
    assert {one.id for one in after} <= again
    read = gorse.list_feedbacks("read", "finn")
    assert {one["ItemId"] for one in read} == {one.id for one in shown}


def test_sessions_and_neighbours(gorse: Gorse) -> None:
    visit = [{"FeedbackType": "star", "UserId": "", "ItemId": "i1", "Timestamp": DAY.format(1)}]
    scores = gorse.session_recommend(visit, 4)
    assert len(scores) == 4
    assert "i1" not in [one["Id"] for one in scores]
    near = gorse.get_neighbors("i1", n=5)
    assert [one["Id"] for one in gorse.get_neighbors("i1", n=2, offset=1)] == [
        one["Id"] for one in near[1:3]
    ]
    assert "i1" not in [one["Id"] for one in near]


def test_the_client_for_asyncio(node: tuple[str, Path], gorse: Gorse) -> None:
    client = AsyncGorse(node[0], gorse.api_key)

    async def call() -> None:
        assert await client.insert_user({"UserId": "gil", "Labels": [], "Comment": ""})
        assert await client.insert_users([{"UserId": "hal"}])
        assert (await client.get_user("gil"))["UserId"] == "gil"
        assert len((await client.get_users(3))[0]) == 3
        assert await client.insert_item({"ItemId": "async", "Timestamp": DAY.format(1)})
        assert await client.update_item("async", categories=["c9"], labels=["l"])
        assert (await client.get_item("async"))["Categories"] == ["c9"]
        assert len((await client.get_items(3))[0]) == 3
        assert len(await client.search_items("a", 2)) == 2
        assert await client.insert_feedback("star", "gil", "async", DAY.format(1))
        assert await client.insert_feedbacks([])
        assert len(await client.list_feedbacks("star", "gil")) == 1
        assert len((await client.get_feedbacks(7))[0]) == 7
        assert len(await client.get_recommend("gil", n=3, write_back_type="read")) == 3
        assert len(await client.session_recommend([], 3)) == 3
        assert len(await client.get_neighbors("i1", 3)) == 3
        assert await client.delete_feedback("gil", "async") == {"RowAffected": 1}
        assert await client.delete_item("async") == {"RowAffected": 1}
        for user_id in ("gil", "hal"):
            assert await client.delete_user(user_id) == {"RowAffected": 1}

    asyncio.run(call())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="no npm on the path")
def test_the_client_for_javascript(node: tuple[str, Path], gorse: Gorse, tmp_path: Path) -> None:
    # It needs tslib without saying so.
    install = ["npm", "install", "--no-audit", "--no-fund", "gorsejs@0.4.8", "tslib@2"]
    if subprocess.run(install, cwd=tmp_path, capture_output=True, timeout=120).returncode:
        pytest.skip("gorsejs cannot be installed")
    script = Path(__file__).parent / "gorse_calls.mjs"
    command = ["node", str(script), str(tmp_path), node[0], gorse.api_key]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_deleted_user_stays_away(gorse: Gorse) -> None:
    gorse.insert_feedback("star", "ines", "i3", DAY.format(1))
    gorse.delete_user("ines")
    with pytest.raises(GorseException) as refused:
        gorse.insert_feedback("star", "ines", "i3", DAY.format(1))
    assert refused.value.status_code == 409


def test_roles_hold(node: tuple[str, Path], gorse: Gorse) -> None:
    reader = Gorse(node[0], (node[1] / "reader").read_text())
    writer = Gorse(node[0], (node[1] / "writer").read_text())
    assert len(reader.get_recommend("u1", n=3)) == 3
    assert len(reader.session_recommend([], 3)) == 3
    assert writer.insert_feedback("star", "u1", "i5", DAY.format(1))
    for call in (
        lambda: Gorse(node[0], "no such key at all").get_users(1),
        lambda: reader.get_recommend("u1", write_back_type="read"),
        lambda: reader.insert_user({"UserId": "x"}),
        lambda: writer.delete_user("u1"),
        lambda: writer.delete_feedback("u1", "i5"),
    ):
        with pytest.raises(GorseException) as refused:
            call()
        assert refused.value.status_code in (401, 403)
    assert gorse.get_user("u1")["UserId"] == "u1"
    assert '"/gorse/api/user/{user_id}"' in AccessFiles(node[1] / "shop.db").audit.read_text()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "item", {"ItemId": ""}, 422),
        ("POST", "items", [{"ItemId": "x", "Timestamp": "never"}], 422),
        ("POST", "user", {"UserId": "x", "Labels": "y" * 11_000}, 422),
        ("POST", "user", {"UserId": "x", "Labels": [[[[[[[[[[[1]]]]]]]]]]]}, 422),
        ("POST", "feedback", [{"FeedbackType": "", "UserId": "u1", "ItemId": "i1"}], 422),
        ("PATCH", "item/nothing", {"Comment": "x"}, 404),
        ("GET", "item/nothing/neighbors/", None, 404),
        ("GET", "recommend/u1?write-back-delay=soon", None, 422),
        ("GET", "users?cursor=mine", None, 422),
        ("GET", "users?n=0", None, 422),
    ],
)
def test_bad_input_is_refused(
    client: TestClient, method: str, path: str, body: object, status: int
) -> None:
    answer = client.request(method, f"/gorse/api/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert set(answer.json()["error"]) >= {"code", "message", "remedy"}


def test_labels_that_are_no_text_are_refused(client: TestClient) -> None:
    body, kind = (
        rb'{"UserId": "x", "Labels": {"a": "\ud800"}}',
        {"content-type": "application/json"},
    )
    assert client.post("/gorse/api/user", content=body, headers=kind).status_code == 422


def test_calls_that_only_the_other_clients_have(service: Service, client: TestClient) -> None:
    base = "/gorse/api"
    assert client.patch(f"{base}/user/u1", json={"Comment": "gold"}).json() == {"RowAffected": 1}
    assert client.get(f"{base}/user/u1").json()["Comment"] == "gold"
    assert client.put(f"{base}/item/i1/category/sale").json() == {"RowAffected": 1}
    assert client.get(f"{base}/item/i1").json()["Categories"] == ["c1", "sale"]
    assert client.delete(f"{base}/item/i1/category/c1").json() == {"RowAffected": 1}
    assert client.get(f"{base}/item/i1").json()["Categories"] == ["sale"]
    star = {"FeedbackType": "star", "UserId": "u1", "ItemId": "i1", "Timestamp": DAY.format(1)}
    client.post(f"{base}/feedback", json=[star])
    client.post(f"{base}/feedback", json=[star | {"Comment": "no"}])
    assert client.get(f"{base}/feedback/star/u1/i1").json()["Comment"] == ""
    client.put(f"{base}/feedback", json=[star | {"Comment": "yes"}])
    assert client.get(f"{base}/feedback/star/u1/i1").json()["Comment"] == "yes"
    assert client.get(f"{base}/feedback/like/u1/i1").json() == {}
    assert len(client.get(f"{base}/feedback/star").json()["Feedback"]) == 1
    for path in ("user/u1/feedback", "item/i1/feedback/", "feedback/u1/i1"):
        kinds = {one["FeedbackType"] for one in client.get(f"{base}/{path}").json()}
        assert "star" in kinds
    assert len(client.get(f"{base}/item/i1/feedback/star").json()) == 1
    assert client.delete(f"{base}/feedback/star/u1/i1").json() == {"RowAffected": 1}
    first = client.get(f"{base}/recommend/u1").json()
    assert len(first) == 10
    assert all(isinstance(item_id, str) for item_id in first)
    service.deny(first[:1]).result()
    for path in ("recommend/u1", "latest", "latest/c0", "popular", "non-personalized/trending"):
        answer = client.get(f"{base}/{path}", params={"n": 100, "user-id": "u2"})
        assert answer.status_code == 200, answer.text
        assert first[0] not in str(answer.json())
        assert len(answer.json()) > 5
    assert len(client.get(f"{base}/item-to-item/any/i1").json()) == 10
    assert len(client.get(f"{base}/item/i1/neighbors/c2", params={"n": 3}).json()) == 3
    users = client.get(f"{base}/user/u1/neighbors/", params={"n": 3}).json()
    assert users == client.get(f"{base}/user-to-user/any/u1", params={"n": 3}).json()
