"""Routes whose parameters are checked in one go.

FastAPI checks each by itself, and makes what does it anew with each request: as much work as the
answer itself.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from inspect import iscoroutinefunction
from typing import Any, get_args, get_origin

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ConfigDict, ValidationError, create_model
from starlette.datastructures import QueryParams

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class QuickRoute(APIRoute):
    """A route of FastAPI, documented and checked as any other.

    It is quicker where the endpoint is a coroutine that takes the request, parts of the path and
    the query, and nothing else; others are left to FastAPI.
    """

    _quick: Handler | None = None

    def get_route_handler(self) -> Handler:
        """Returns what answers a request, made once: FastAPI asks with each request."""
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
    many = {one.name for one in query if _is_list(one.field_info.annotation)}
    single = {one.name for one in query} - many

    def check(request: Request) -> dict[str, Any]:
        given = dict(request.path_params)
        if request.scope["query_string"]:
            given |= _given(request.query_params, single, many)
        try:
            found = model.model_validate(given)
        except ValidationError as error:
            raise RequestValidationError(_located(error, request)) from None
        return {name: getattr(found, name) for name in names}

    return check


def _given(query: QueryParams, single: set[str], many: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {name: query[name] for name in single if name in query}
    return found | {name: query.getlist(name) for name in many if name in query}


def _is_list(annotation: Any) -> bool:
    return any(get_origin(one) is list for one in (annotation, *get_args(annotation)))


def _located(error: ValidationError, request: Request) -> list[Any]:
    """Says of each fault whether it is in the path or the query, as FastAPI does."""
    faults = error.errors(include_url=False)
    return [
        {**one, "loc": ("path" if one["loc"][0] in request.path_params else "query", *one["loc"])}
        for one in faults
    ]
