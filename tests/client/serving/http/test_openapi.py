"""The description of all routes: complete, with examples that hold, and true of real answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from client.serving.http.errors import CODES
from client.serving.server import create_app
from tests.client.serving.http.test_page import ledger_of
from tests.client.serving.small_service import LINES, client_of, opened, write_adapter

SERVICE: Any = None
DESCRIPTION = create_app(SERVICE).openapi()
OPERATIONS = {
    operation["operationId"]: (method, path, operation)
    for path, methods in DESCRIPTION["paths"].items()
    for method, operation in methods.items()
}
EVENT = {"event_id": "e1", "user_id": "u1", "item_id": "i1"}
BOOST = {"effect": "boost", "surfaces": ["for-you"], "category": "c1"}
ITEM = {"item_id": "new-item", "text": "soap"}
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "recommend": ("/api/recommend/u1?explain=true&n=3", {}),
    "recommend_for_session": ("/api/session/recommend", {"json": {"items": ["i1"], "n": 2}}),
    "similar_items": ("/api/items/i1/similar", {}),
    "bought_together": ("/api/items/i1/bought-together", {}),
    "search": ("/api/search?q=apple", {}),
    "similar_users": ("/api/users/u1/similar", {}),
    "popular_items": ("/api/popular", {}),
    "latest_items": ("/api/latest", {}),
    "add_events": ("/api/feedback", {"json": [EVENT]}),
    "replace_events": ("/api/feedback", {"json": [EVENT | {"event_type": "click"}]}),
    "list_events": ("/api/feedback?user_id=u1", {}),
    "delete_event": ("/api/feedback/e1", {}),
    "import_lines": ("/api/bulk", {"content": json.dumps(EVENT | {"event_id": "e2"})}),
    "add_items": ("/api/items", {"json": [ITEM]}),
    "put_items": ("/api/items", {"json": [ITEM]}),
    "list_items": ("/api/items?n=2", {}),
    "get_item": ("/api/items/i1", {}),
    "change_item": ("/api/items/i1", {"json": {"price": 3.0}}),
    "delete_item": ("/api/items/new-item", {}),
    "add_users": ("/api/users", {"json": [{"user_id": "new-user"}]}),
    "put_users": ("/api/users", {"json": [{"user_id": "new-user", "segment": "s"}]}),
    "list_users": ("/api/users?n=2", {}),
    "user_profile": ("/api/users/u1/profile", {}),
    "delete_user": ("/api/users/new-user", {}),
    "export_user": ("/api/users/u1/export", {}),
    "get_consent": ("/api/users/u1/consent", {}),
    "set_consent": ("/api/users/u1/consent", {"json": {"training": "refuse"}}),
    "get_dislikes": ("/api/users/u1/dislikes", {}),
    "put_dislike": ("/api/users/u1/dislikes/i2", {"json": {"disliked": True}}),
    "readmit_user": ("/api/users/new-user/readmission", {}),
    "privacy": ("/api/privacy", {}),
    "verify_ledger": ("/api/privacy/verify", {}),
    "live": ("/health/live", {}),
    "ready": ("/health/ready", {}),
    "metrics": ("/metrics", {}),
    "status": ("/api/status", {}),
    "reload_adapter": ("/api/adapter/reload", {}),
    "online_report": ("/api/online", {}),
    "outcome_report": ("/api/outcomes", {}),
    "denied_items": ("/api/settings/deny", {}),
    "set_denied_items": ("/api/settings/deny", {"json": {"items": ["i2"]}}),
    "list_rules": ("/api/rules", {}),
    "put_rule": ("/api/rules/spring", {"json": BOOST}),
    "delete_rule": ("/api/rules/spring", {}),
    "list_uses": ("/api/uses", {}),
    "use_list": ("/api/uses/churn-4w/list?limit=3", {}),
    "user_uses": ("/api/users/u2/uses", {}),
    "login": ("/api/login", {}),
    "logout": ("/api/logout", {}),
}
"""A request of each operation, in an order in which all of them can be done."""
FAULTS = (
    ("recommend", "/api/recommend/u1?n=0", {}),
    ("similar_items", "/api/items/nothing/similar", {}),
    ("user_profile", "/api/users/nobody/profile", {}),
    ("add_items", "/api/items", {"json": [{"item_id": "i1"}]}),
    ("add_items", "/api/items", {"content": "{", "headers": {"content-type": "application/json"}}),
    ("add_items", "/api/items", {"content": "x", "headers": {"content-type": "text/plain"}}),
    ("import_lines", "/api/bulk", {"content": '{"user_id": "u1"}'}),
    ("recommend", "/api/recommend/u1", {"headers": {"host": "elsewhere.example"}}),
    ("set_denied_items", "/api/settings/deny", {"json": {"items": ["nothing"]}}),
)


def resolved(shape: dict[str, Any]) -> dict[str, Any]:
    """Follows a reference within the description."""
    while "$ref" in shape:
        found: Any = DESCRIPTION
        for part in shape["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        shape = found
    return shape


def validator(shape: dict[str, Any], *, strict: bool) -> Draft202012Validator:
    schemas = DESCRIPTION["components"]["schemas"]
    if strict:
        schemas = {
            name: ({"additionalProperties": False} if "properties" in one else {}) | one
            for name, one in schemas.items()
        }
    return Draft202012Validator(shape | {"components": {"schemas": schemas}})


def answered(operation: dict[str, Any], status: int) -> dict[str, Any]:
    assert str(status) in operation["responses"], (operation["operationId"], status)
    return resolved(operation["responses"][str(status)])


def examples(content: dict[str, Any]) -> Iterator[Any]:
    if "example" in content:
        yield content["example"]
    yield from (one["value"] for one in content.get("examples", {}).values())


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("described")
    service = opened(folder, ledger=ledger_of(folder))
    write_adapter(folder / "adapter", service, seed=1)
    service.close()
    service = opened(folder, ledger=ledger_of(folder / "l"), adapter=folder / "adapter")
    with client_of(service) as client:
        yield client


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_route_has_a_typed_answer_its_errors_and_examples_that_hold(name) -> None:
    _, path, operation = OPERATIONS[name]
    good = [status for status in operation["responses"] if status.startswith("2")]
    assert len(good) == 1
    for status in operation["responses"]:
        for content in answered(operation, int(status)).get("content", {}).values():
            shape = content["schema"]
            assert shape.get("$ref") or shape.get("type") == "string"
            shown = list(examples(content))
            assert shown, (name, status)
            for example in shown:
                validator(shape, strict=True).validate(example)
        if not status.startswith("2") and name != "ready":
            (content,) = answered(operation, int(status))["content"].values()
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert {example["error"]["code"] for example in examples(content)} == set(
                CODES[int(status)]
            )
    for content in operation.get("requestBody", {}).get("content", {}).values():
        wanted = content.get("example", content["schema"].get("example"))
        validator(content["schema"], strict=False).validate(wanted)
    open_to_all = path.startswith("/health/")
    assert operation["security"] == ([] if open_to_all else [{"ApiKey": []}])
    assert open_to_all or operation["x-role"] in ("read", "write", "admin")
    assert operation["summary"]
    assert operation["description"]
    assert "{" not in path or "422" in operation["responses"]


def test_all_routes_have_a_request_here() -> None:
    assert set(REQUESTS) == set(OPERATIONS)
    kept = json.dumps(DESCRIPTION)
    assert "HTTPValidationError" not in kept
    (key,) = DESCRIPTION["components"]["securitySchemes"].values()
    assert (key["type"], key["in"], key["name"]) == ("apiKey", "header", "X-API-Key")


def test_what_a_node_really_answers_is_as_described(served) -> None:
    for name, (address, body) in REQUESTS.items():
        method, _, operation = OPERATIONS[name]
        more = {"headers": LINES} if name == "import_lines" else {}
        answer = served.request(method, address, **body, **more)
        assert answer.status_code < 300, (name, answer.text)
        (media_type, content), *_ = answered(operation, answer.status_code)["content"].items()
        assert answer.headers["content-type"].startswith(media_type), name
        if media_type == "application/json":
            validator(content["schema"], strict=True).validate(answer.json())


@pytest.mark.parametrize(("name", "address", "body"), FAULTS)
def test_what_a_node_really_refuses_is_as_described(name, address, body, served) -> None:
    method, _, operation = OPERATIONS[name]
    if name == "import_lines":
        body = body | {"headers": LINES}
    answer = served.request(method, address, **body)
    content = answered(operation, answer.status_code)["content"]["application/json"]
    validator(content["schema"], strict=True).validate(answer.json())
    assert answer.json()["error"]["code"] in CODES[answer.status_code]
