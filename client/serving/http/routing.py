"""What all routes share: parameters checked in one go, the service, JSON replies and page cursors.

FastAPI checks each parameter by itself, and makes what does it anew with each request: as much work
as the answer itself.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Coroutine
from inspect import iscoroutinefunction
from typing import Annotated, Any, get_args, get_origin

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    ValidationError,
    create_model,
)
from pydantic_core import to_json
from starlette.datastructures import QueryParams

from client.serving.http.middleware import SLASH_STAND_IN
from client.serving.service.service import Service
from shared.errors import DataError
from shared.interactions.ids import spelled_id


def _restore_slashes(value: object) -> object:
    return value.replace(SLASH_STAND_IN, "/") if isinstance(value, str) else value


PathId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00]+$"),
    BeforeValidator(_restore_slashes),
    AfterValidator(spelled_id),
]
"""The id of something stored; an import may have brought ids that no request could."""


def service_of(request: Request) -> Service:
    """Returns the service behind a request."""
    service: Service = request.app.state.service
    return service


Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class QuickRoute(APIRoute):
    """A route of FastAPI, documented and checked as any other.

    It is quicker where the endpoint is a coroutine that takes the request, parts of the path and
    the query, and nothing else; others are left to FastAPI.
    """

    _quick: Handler | None = None

    def get_route_handler(self) -> Handler:
        """Returns what answers a request, built once: FastAPI asks with each request."""
        if self._quick is None:
            self._quick = self._handler()
        return self._quick

    def _handler(self) -> Handler:
        needs = self.dependant
        other = needs.body_params or needs.header_params or needs.cookie_params
        if other or needs.dependencies or not iscoroutinefunction(self.endpoint):
            return super().get_route_handler()
        check = _checker(self)
        request_name, endpoint = needs.request_param_name, self.endpoint

        async def handle(request: Request) -> Response:
            values = check(request)
            if request_name is not None:
                values[request_name] = request
            response: Response = await endpoint(**values)
            return response

        return handle


def _checker(route: APIRoute) -> Callable[[Request], dict[str, Any]]:
    query, path = route.dependant.query_params, route.dependant.path_params
    shapes: dict[str, Any] = {
        one.name: (one.field_info.annotation, one.field_info) for one in (*query, *path)
    }
    model = create_model(
        "Parameters", __config__=ConfigDict(arbitrary_types_allowed=True), **shapes
    )
    names = list(shapes)
    many = {one.alias for one in query if _is_list(one.field_info.annotation)}
    single = {one.alias for one in query} - many

    def check(request: Request) -> dict[str, Any]:
        raw = dict(request.path_params)
        if request.scope["query_string"]:
            raw |= _query_values(request.query_params, single, many)
        try:
            parameters = model.model_validate(raw)
        except ValidationError as error:
            raise RequestValidationError(_located(error, request)) from None
        return {name: getattr(parameters, name) for name in names}

    return check


def _query_values(query: QueryParams, single: set[str], many: set[str]) -> dict[str, Any]:
    values: dict[str, Any] = {name: query[name] for name in single if name in query}
    return values | {name: query.getlist(name) for name in many if name in query}


def _is_list(annotation: Any) -> bool:
    return any(get_origin(one) is list for one in (annotation, *get_args(annotation)))


def _located(error: ValidationError, request: Request) -> list[Any]:
    """Says of each fault whether it is in the path or the query, as FastAPI does."""
    faults = error.errors(include_url=False)
    return [
        {**one, "loc": ("path" if one["loc"][0] in request.path_params else "query", *one["loc"])}
        for one in faults
    ]


def json_reply(content: Any, status: int = 200) -> Response:
    """Returns plain values as JSON."""
    return Response(to_json(content), status_code=status, media_type="application/json")


def encode_cursor(key: int) -> str:
    """Returns an opaque cursor for the page after a key."""
    return base64.urlsafe_b64encode(f"k{key}".encode()).decode()


def decode_cursor(cursor: str | None) -> int:
    """Reads a cursor.

    Raises:
        DataError: It is none of ours.
    """
    if cursor is None:
        return 0
    try:
        text = base64.urlsafe_b64decode(cursor.encode()).decode()
    except (binascii.Error, ValueError):
        text = ""
    if not text.startswith("k") or not text[1:].isdecimal() or len(text) > 19 or not text.isascii():
        raise DataError(
            "cursor is not one of ours", remedy="take it from next_cursor of the page before"
        )
    return int(text[1:])


def page_body(rows: list[dict[str, Any]], *, n: int, key: str) -> dict[str, Any]:
    """Returns one page and the cursor of the next, None on the last.

    Args:
        rows: Up to `n + 1` rows in order of their keys.
        n: Rows of a page.
        key: Name of the key, which is left out of the page.
    """
    more = len(rows) > n
    shown = rows[:n]
    cursor = encode_cursor(shown[-1][key]) if more else None
    hidden = {name for name in (shown[0] if shown else {}) if name.endswith("_key")}
    return {
        "rows": [{k: v for k, v in row.items() if k not in hidden} for row in shown],
        "next_cursor": cursor,
    }
