"""Faults as JSON: a code, a message and a remedy, and nothing of the inside."""

from __future__ import annotations

import logging
import re
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from client.serving.ranking.rule_conflicts import RuleConflictError
from client.store.database import ConflictError, StoreFullError, StoreUnavailableError, UnknownError
from shared.errors import DataError, FedprofileError, ModelError, PrivacyError

_log = logging.getLogger(__name__)
_KINDS: tuple[tuple[type[FedprofileError], int, str], ...] = (
    (UnknownError, 404, "unknown"),
    (RuleConflictError, 409, "rules_contradict"),
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
    408: ("too_slow", "send the request again"),
    413: ("too_large", "send fewer entries a request"),
    431: ("headers_too_large", "send fewer or shorter headers"),
    429: ("too_many_requests", "wait a second and send fewer requests"),
}
_ELSEWHERE = (
    (403, "host_not_allowed", "ask it by its address, or name the host with --allow-host"),
    (403, "foreign_page", "open the node by its own address"),
    (403, "role_too_low", "send a key of the role that the route needs"),
    (415, "unsupported_media_type", "send the content-type that the message names"),
    (422, "lines_refused", "correct the lines of details and send the file again"),
    (500, "internal", "report it with the request id"),
)
"""Codes of the guard, of bulk imports and of faults that nobody foresaw, with a remedy each."""
_USUAL_REMEDIES = {
    "unknown": "check the spelling of the id",
    "exists": "choose another id, or replace with PUT",
    "disk_full": "make room on the disk of the database and send it again",
    "store_unavailable": "send it again in a second",
    "rules_contradict": "change or delete the rule that the message names",
    "invalid": "correct the fields that details names",
    "adapter_does_not_fit": "take an adapter of this federation",
    "ledger_does_not_hold": "verify the ledger with `fedprofile privacy verify`",
    "refused": "do what the remedy of the answer says",
}
_BY_STATUS = (
    *((status, code) for _, status, code in _KINDS),
    *((status, code) for status, (code, _) in _HTTP.items()),
    *((status, code) for status, code, _ in _ELSEWHERE),
)
CODES = {s: tuple(dict.fromkeys(c for t, c in _BY_STATUS if t == s)) for s, _ in _BY_STATUS}
"""All codes of errors by status."""
REMEDIES = {
    **_USUAL_REMEDIES,
    **dict(_HTTP.values()),
    **{code: remedy for _, code, remedy in _ELSEWHERE},
}
"""What to do by code, in general; an answer's own remedy says more."""
_SPEAKS_OF_IDS = (UnknownError, ConflictError, DataError)
_PATH = re.compile(r"(?<![\w.~-])(?:sqlite:///|~)?(?:/[^/\s'\",;:()]+)+/(?=[^/\s])")
"""Folders before a file's name; an id that looks like them is in errors that stay as they are."""
_MALFORMED = "json_invalid"
_DETAILS = 10


def error_body(code: str, message: str, remedy: str, **more: Any) -> dict[str, Any]:
    """Returns the one form of all errors."""
    return {"error": {"code": code, "message": message, "remedy": remedy, **more}}


def refusal_body(status: int, message: str) -> dict[str, Any]:
    """Returns the body of a refusal that has a status but no exception."""
    code, remedy = _HTTP.get(status, ("refused", "see /docs"))
    return error_body(code, message, remedy)


def status_and_code(error: FedprofileError) -> tuple[int, str]:
    """Returns status and code of an error."""
    return next((status, code) for kind, status, code in _KINDS if isinstance(error, kind))


def message_and_remedy(error: FedprofileError) -> tuple[str, str]:
    """Returns message and remedy of an error: no option of a command, no folder of the machine."""
    message, remedy = error.message, error.remedy.words(())
    if isinstance(error, _SPEAKS_OF_IDS):
        return message, remedy
    return _PATH.sub("", message), _PATH.sub("", remedy)


def install_error_handlers(app: FastAPI) -> None:
    """Makes every fault of an app answer in that form."""
    app.add_exception_handler(FedprofileError, _answer_ours)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_unexpected)


async def _answer_ours(_request: Request, error: Exception) -> Response:
    if not isinstance(error, FedprofileError):
        raise error
    status, code = status_and_code(error)
    headers = {"Retry-After": "1"} if status == 503 else None
    content = error_body(code, *message_and_remedy(error))
    return JSONResponse(content, status_code=status, headers=headers)


async def _answer_invalid(_request: Request, error: Exception) -> Response:
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    if faults and faults[0]["type"] == _MALFORMED:
        content = error_body("malformed_json", "the body is not JSON", "send JSON in UTF-8")
        return JSONResponse(content, status_code=400)
    details = [
        {"field": ".".join(str(part) for part in one["loc"]), "problem": one["msg"]}
        for one in faults[:_DETAILS]
    ]
    first = details[0]["field"] if details else "body"
    message = f"{len(faults)} fields are wrong, the first: {first}"
    content = error_body("invalid", message, "correct the fields; see /docs", details=details)
    return JSONResponse(content, status_code=422)


async def _answer_http(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    content = refusal_body(error.status_code, str(error.detail))
    return JSONResponse(content, status_code=error.status_code, headers=headers)


async def _answer_unexpected(request: Request, error: Exception) -> Response:
    # The cause stays in the log: its text may hold a customer's data.
    _log.exception("request %s failed", request.scope.get("request_id"), exc_info=error)
    content = error_body("internal", "the service failed", "report it with the request id")
    return JSONResponse(content, status_code=500)
