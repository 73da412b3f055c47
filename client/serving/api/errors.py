"""Faults as JSON: a code, a message and a remedy, and nothing of the inside."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from client.store.faults import (
    ConflictError,
    StoreFullError,
    StoreUnavailableError,
    UnknownError,
)
from shared.errors import DataError, FedprofileError, ModelError, PrivacyError

_log = logging.getLogger(__name__)
_KINDS: tuple[tuple[type[FedprofileError], int, str], ...] = (
    (UnknownError, 404, "unknown"),
    (ConflictError, 409, "exists"),
    (StoreFullError, 507, "disk_full"),
    (StoreUnavailableError, 503, "store_unavailable"),
    (DataError, 422, "invalid"),
    (ModelError, 409, "adapter_does_not_fit"),
    (PrivacyError, 409, "ledger_does_not_hold"),
    (FedprofileError, 400, "refused"),
)
_HTTP = {
    400: ("malformed_json", "send JSON in UTF-8"),
    401: ("unauthorized", "send the key as X-API-Key"),
    404: ("no_such_route", "see /docs for all routes"),
    405: ("method_not_allowed", "see /docs for the methods of this route"),
    413: ("too_large", "send fewer entries a request"),
    429: ("too_many_requests", "wait a second and send fewer requests"),
}
_MALFORMED = "json_invalid"
_DETAILS = 10


def body(code: str, message: str, remedy: str, **more: Any) -> dict[str, Any]:
    """Returns the one form of all errors."""
    return {"error": {"code": code, "message": message, "remedy": remedy, **more}}


def refusal(status: int, message: str) -> dict[str, Any]:
    """Returns the body of a refusal that has a status but no exception."""
    code, remedy = _HTTP.get(status, ("refused", "see /docs"))
    return body(code, message, remedy)


def kind_of(error: FedprofileError) -> tuple[int, str]:
    """Returns status and code of an error."""
    return next((status, code) for kind, status, code in _KINDS if isinstance(error, kind))


def parts_of(error: FedprofileError) -> tuple[str, str]:
    """Returns message and remedy of an error."""
    message, _, remedy = str(error).rpartition("; ")
    return message or str(error), remedy


def install(app: FastAPI) -> None:
    """Makes every fault of an app answer in that form."""
    app.add_exception_handler(FedprofileError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


async def _ours(_request: Request, error: Exception) -> Response:
    if not isinstance(error, FedprofileError):
        raise error
    status, code = kind_of(error)
    headers = {"Retry-After": "1"} if status == 503 else None
    content = body(code, *parts_of(error))
    return JSONResponse(content, status_code=status, headers=headers)


async def _invalid(_request: Request, error: Exception) -> Response:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    if found and found[0]["type"] == _MALFORMED:
        content = body("malformed_json", "the body is not JSON", "send JSON in UTF-8")
        return JSONResponse(content, status_code=400)
    details = [
        {"field": ".".join(str(part) for part in one["loc"]), "problem": one["msg"]}
        for one in found[:_DETAILS]
    ]
    first = details[0]["field"] if details else "body"
    message = f"{len(found)} fields are wrong, the first: {first}"
    content = body("invalid", message, "correct the fields; see /docs", details=details)
    return JSONResponse(content, status_code=422)


async def _http(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    content = refusal(error.status_code, str(error.detail))
    return JSONResponse(content, status_code=error.status_code, headers=headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    _log.exception("request %s failed", request.scope.get("request_id"), exc_info=error)
    content = body("internal", "the service failed", "report it with the request id")
    return JSONResponse(content, status_code=500)
