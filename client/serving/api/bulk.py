"""The route that takes many lines in one request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from client.serving.api.errors import body, kind_of, parts_of
from client.serving.api.feedback import event_record
from client.serving.api.recommending import service_of
from client.serving.api.replies import reply
from client.serving.api.schemas import EventIn, ItemIn, UserIn
from client.serving.bulk import Kind, import_lines
from client.serving.service import Service
from client.store.records import Event
from shared.errors import DataError, RunError

router = APIRouter(prefix="/api", tags=["feedback"])
_LINE = '{"event_id": "order-7-1", "user_id": "u1", "item_id": "i1", "event_type": "purchase"}\n'
_BODY = {
    "required": True,
    "content": {"application/x-ndjson": {"schema": {"type": "string", "example": _LINE}}},
}


class _TooLargeError(RunError):
    """The body is above the limit of bulk imports."""


@router.post("/bulk", summary="Import many lines", openapi_extra={"requestBody": _BODY})
async def bulk(request: Request, kind: Literal["events", "items", "users"] = "events") -> Response:
    """Stores one JSON object a line, each as in the routes for a few; batches are durable in turn.

    A wrong line keeps no other one out: 422 says how many were stored and which lines were not.
    Sent again, what is there already is passed over, so events need an `event_id`.
    """
    found = await import_lines(_kinds(service_of(request))[kind], _chunks(request))
    if found.stopped is not None:
        status, code = kind_of(found.stopped)
        if isinstance(found.stopped, _TooLargeError):
            status, code = 413, "too_large"
        return reply(body(code, *parts_of(found.stopped), **found.to_json()), status)
    if found.refused:
        message = f"{found.refused} of {found.lines} lines were not stored"
        remedy = "correct the lines of details and send the file again"
        return reply(body("lines_refused", message, remedy, **found.to_json()), 422)
    return reply(found.to_json())


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except HTTPException as error:
        raise _TooLargeError(f"{error.detail}; send the file in parts") from error
    except ClientDisconnect as error:
        raise RunError("the connection ended; send the file again") from error


def _kinds(service: Service) -> dict[str, Kind[Any]]:
    known = service.engine.items.rows

    def event(line: bytes) -> Event:
        found = EventIn.model_validate_json(line)
        if found.event_id is None:
            raise DataError("event_id is missing; give one, so that a repeated import adds nothing")
        if found.item_id not in known:
            raise DataError(f"item_id={found.item_id!r} is not in the catalogue; import it first")
        return event_record(service, found)

    return {
        "events": Kind(event, service.add_events, passes_over=True),
        "items": Kind(
            lambda line: ItemIn.model_validate_json(line).record(),
            partial(service.add_items, replace=True),
        ),
        "users": Kind(
            lambda line: UserIn.model_validate_json(line).record(),
            partial(service.add_users, replace=True),
        ),
    }
