"""The route that takes many lines in one request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from client.sdk.answers.catalogue import BulkImport
from client.serving.http.description import answers
from client.serving.http.errors import error_body, message_and_remedy, status_and_code
from client.serving.http.routes.feedback import event_record
from client.serving.http.routing import json_reply, service_of
from client.serving.http.schemas import EventIn, ItemIn, UserIn
from client.serving.service.bulk_import import RecordKind, import_lines
from client.serving.service.service import Service
from client.store.schema import Event
from shared.errors import DataError, RunError

router = APIRouter(prefix="/api", tags=["feedback"])
_LINE = '{"event_id": "order-7-1", "user_id": "u1", "item_id": "i1", "event_type": "purchase"}\n'
_BODY = {
    "required": True,
    "content": {"application/x-ndjson": {"schema": {"type": "string", "example": _LINE}}},
}


class _BodyRefusedError(RunError):
    """The body is too large or comes too slowly."""

    def __init__(self, error: HTTPException) -> None:
        large = error.status_code == 413
        remedy = "send the file in parts" if large else "send the file again"
        super().__init__(f"{error.detail}", remedy=remedy)
        self.status, self.code = error.status_code, "too_large" if large else "too_slow"


@router.post(
    "/bulk",
    summary="Import many lines",
    operation_id="import_lines",
    responses=answers(BulkImport, 409),
    openapi_extra={"requestBody": _BODY},
)
async def bulk(request: Request, kind: Literal["events", "items", "users"] = "events") -> Response:
    """Stores one JSON object a line, each as in the routes for a few; batches are durable in turn.

    A wrong line keeps no other one out: 422 says how many were stored and which lines were not.
    Sent again, what is there already is passed over, so events need an `event_id`.
    """
    tally = await import_lines(_record_kinds(service_of(request))[kind], _chunks(request))
    if tally.stopped is not None:
        status, code = status_and_code(tally.stopped)
        if isinstance(tally.stopped, _BodyRefusedError):
            status, code = tally.stopped.status, tally.stopped.code
        return json_reply(
            error_body(code, *message_and_remedy(tally.stopped), **tally.to_json()), status
        )
    if tally.refused:
        message = f"{tally.refused} of {tally.lines} lines were not stored"
        remedy = "correct the lines of details and send the file again"
        return json_reply(error_body("lines_refused", message, remedy, **tally.to_json()), 422)
    return json_reply(tally.to_json())


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except HTTPException as error:
        raise _BodyRefusedError(error) from error
    except ClientDisconnect as error:
        raise RunError("the connection ended", remedy="send the file again") from error


def _record_kinds(service: Service) -> dict[str, RecordKind[Any]]:
    known = service.engine.items.rows

    def event(line: bytes) -> Event:
        record = EventIn.model_validate_json(line)
        if record.event_id is None:
            raise DataError(
                "event_id is missing", remedy="give one, so that a repeated import adds nothing"
            )
        if record.item_id not in known:
            raise DataError(
                "is not in the catalogue",
                name="item_id",
                value=f"{record.item_id!r}",
                remedy="import it first",
            )
        return event_record(service, record)

    return {
        "events": RecordKind(event, service.add_events, passes_over=True),
        "items": RecordKind(
            lambda line: ItemIn.model_validate_json(line).record(),
            partial(service.add_items, replace=True),
        ),
        "users": RecordKind(
            lambda line: UserIn.model_validate_json(line).record(),
            partial(service.add_users, replace=True),
        ),
    }
