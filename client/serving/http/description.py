"""The node's description of itself, /openapi.json: errors by status, the API key, roles.

What a route answers stands at the route, as `answers(...)`. It is for the description alone:
FastAPI does not check answers by it, which would cost more than many answers do.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from client.sdk.answers.answer import Answer, example_of
from client.sdk.answers.problem import Problem
from client.serving.http.errors import CODES, REMEDIES, error_body
from client.serving.http.middleware import UNGUARDED_PATHS, needed_role

Operation = dict[str, Any]
Responses = dict[int | str, dict[str, Any]]
_PROBLEM = "Problem"
_ALWAYS = (403, 408, 431, 500)
"""What any request may be answered."""
_GUARDED = (401, 429)
_WITH_BODY = (400, 413, 415, 422)
_WRITING = (503, 507)
_KEY = "ApiKey"
_PATH_EXAMPLES = {"user_id": "u1", "item_id": "i1", "event_id": "order-1001-1"}
_REQUEST_ID = {
    "description": "Name of the request in the node's log; one that is sent is taken over.",
    "schema": {"type": "string"},
}


def answers(model: type[Answer], *errors: int, status: int = 200) -> Responses:
    """Returns what a route answers, for `responses=` of FastAPI.

    Args:
        model: Of the answer.
        errors: Statuses that are the route's own; `describe` adds those that any route may answer.
        status: Of the answer.
    """
    return {status: {"model": model}, **{one: {} for one in errors}}


def text_answer(media_type: str, example: str, *errors: int) -> Responses:
    """Returns what a route answers that gives a text."""
    content = {media_type: {"schema": {"type": "string"}, "example": example}}
    return {200: {"content": content}, **{one: {} for one in errors}}


def describe(app: FastAPI) -> None:
    """Makes an app describe all of its errors, its key and the role that each route needs."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _description(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _description(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):  # of FastAPI, which we do not answer
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"))
    schemas[_PROBLEM] = problem
    codes = sorted({code for known in CODES.values() for code in known})
    schemas["Fault"]["properties"]["code"]["enum"] = codes
    components["responses"] = {f"Problem{status}": _problem(status) for status in sorted(CODES)}
    components["headers"] = {"X-Request-Id": _REQUEST_ID}
    components["securitySchemes"] = {
        _KEY: {
            "type": "apiKey",
            "in": "header",
            "name": "X-API-Key",
            "description": "A key of the role that x-role names: `read`, `write` or `admin`; each "
            "may do what those before it may.",
        }
    }
    models = _models(Answer)
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            _complete(operation, method.upper(), path)
            _add_examples(operation, schemas, models)
    return schema


def _models(kind: type[Answer]) -> dict[str, type[Answer]]:
    """Returns all kinds of answers by the names that the description has for them."""
    below = [one for child in kind.__subclasses__() for one in _models(child).items()]
    return {kind.__name__: kind, **dict(below)}


def _add_examples(
    operation: Operation, schemas: dict[str, Any], models: dict[str, type[Answer]]
) -> None:
    """Gives answers, a body and ids in the path an example each, by those of their fields."""
    for answer in operation["responses"].values():
        content = answer.get("content", {}).get("application/json", {})
        name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        if name in models:  # not through FastAPI, which leaves out what is null
            content["example"] = example_of(models[name])
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in _PATH_EXAMPLES and parameter["in"] == "path":
            parameter["example"] = _PATH_EXAMPLES[parameter["name"]]
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return
    shape = content["schema"]
    entry = shape.get("items", shape)
    fields = schemas[entry["$ref"].rpartition("/")[2]]["properties"]
    sample = {name: field["examples"][0] for name, field in fields.items() if "examples" in field}
    content["example"] = [sample] if "items" in shape else sample


def _complete(operation: Operation, method: str, path: str) -> None:
    """Adds errors, security and the header of the request's name to one operation."""
    unguarded = path in UNGUARDED_PATHS
    operation["security"] = [] if unguarded else [{_KEY: []}]
    if not unguarded:
        operation["x-role"] = needed_role(method, path)
    answered = operation["responses"]
    for status, answer in answered.items():
        if status.startswith("2"):
            content = answer["content"]
            if len(content) > 1:  # FastAPI's own entry, which says nothing
                content.pop("application/json")
            answer["headers"] = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
    statuses = {int(one) for one in answered if not one.startswith("2")} | set(_ALWAYS)
    statuses |= set() if unguarded else set(_GUARDED)
    if "requestBody" in operation:
        statuses |= set(_WITH_BODY)
    if operation.get("x-role") in ("write", "admin") and method != "GET":
        statuses |= set(_WRITING)
    for status in sorted(statuses):
        if "content" not in answered.get(str(status), {}) or status == 422:
            answered[str(status)] = {"$ref": f"#/components/responses/Problem{status}"}


def _problem(status: int) -> dict[str, Any]:
    """Describes what is answered with one status."""
    codes = CODES[status]
    examples = {
        code: {"value": error_body(code, f"why it was refused: {code}", REMEDIES[code])}
        for code in codes
    }
    content = {"schema": {"$ref": f"#/components/schemas/{_PROBLEM}"}, "examples": examples}
    return {
        "description": "; ".join(f"`{code}`: {REMEDIES[code]}" for code in codes),
        "headers": {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}},
        "content": {"application/json": content},
    }
