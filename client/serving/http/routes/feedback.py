"""Routes that take, change and list events."""

from __future__ import annotations

import asyncio
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from client.sdk.answers.catalogue import AddedEvents, Deleted, EventPage, ReplacedEvents
from client.serving.features.events import event_day, time_as_text
from client.serving.http.description import answers
from client.serving.http.routing import PathId, decode_cursor, json_reply, page_body, service_of
from client.serving.http.schemas import EventIn, Events, Id
from client.serving.service.service import Service
from client.store.identity import session_code
from client.store.reading import page_of_events
from client.store.schema import Event
from shared.errors import DataError
from shared.interactions.events import EVENT_TYPES

router = APIRouter(prefix="/api/feedback", tags=["feedback"])


@router.post(
    "",
    summary="Add events",
    status_code=201,
    operation_id="add_events",
    responses=answers(AddedEvents, 409, status=201),
)
async def add(request: Request, events: Events) -> Response:
    """Stores events; answers when they are on the disk and the next answer knows them.

    An event whose id is stored already is passed over.
    """
    service = service_of(request)
    records = _records(service, events)
    fresh = await asyncio.wrap_future(service.add_events(records))
    ids = [event.event_id for event in records]
    return json_reply(
        {"added": len(fresh), "repeated": len(records) - len(fresh), "event_ids": ids}, 201
    )


@router.put(
    "",
    summary="Replace events",
    operation_id="replace_events",
    responses=answers(ReplacedEvents),
)
async def put(request: Request, events: Events) -> Response:
    """Puts events in place of those with the same ids, or adds them; every one needs an id."""
    service = service_of(request)
    if any(event.event_id is None for event in events):
        raise DataError(
            "event_id is missing in an event", remedy="PUT replaces by id, so give each one"
        )
    records = _records(service, events)
    await asyncio.wrap_future(service.replace_events(records))
    return json_reply({"replaced": len(records)})


@router.delete(
    "/{event_id}",
    summary="Delete an event",
    operation_id="delete_event",
    responses=answers(Deleted, 404),
)
async def delete(request: Request, event_id: PathId) -> Response:
    """Deletes one event."""
    await asyncio.wrap_future(service_of(request).delete_event(event_id))
    return json_reply({"deleted": event_id})


@router.get(
    "",
    summary="List events",
    operation_id="list_events",
    responses=answers(EventPage, 503),
)
async def listing(
    request: Request,
    user_id: Id | None = None,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
    n: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Lists events in order of arrival, a page at a time."""
    service = service_of(request)
    after = decode_cursor(cursor)

    def read() -> list[dict[str, object]]:
        with service.store.reading() as connection:
            return page_of_events(connection, after=after, n=n + 1, user_id=user_id)

    page = page_body(await run_in_threadpool(read), n=n, key="event_key")
    time_unit = service.engine.sources.time_unit
    for row in page["rows"]:
        row["event_type"] = EVENT_TYPES[row["event_type"]]
        row["time"] = time_as_text(row["time"], time_unit)
    return json_reply({"events": page["rows"], "next_cursor": page["next_cursor"]})


def _records(service: Service, events: list[EventIn]) -> list[Event]:
    return [event_record(service, event) for event in events]


def event_record(service: Service, event: EventIn) -> Event:
    """Returns an event as the database holds it, with a new id where it has none.

    Raises:
        DataError: Its time is out of bounds.
    """
    return Event(
        event_id=event.event_id or uuid4().hex,
        user_id=event.user_id,
        item_id=event.item_id,
        time=_time(service, event),
        event_type=EVENT_TYPES.index(event.event_type),
        weight=event.weight,
        quantity=event.quantity,
        price=event.price,
        session=session_code(event.session_id),
        session_id=event.session_id,
    )


def _time(service: Service, event: EventIn) -> float:
    if service.engine.sources.time_unit == "days":
        return event_day(event.time, future_seconds=service.settings.future_seconds)
    if event.position is not None:
        return event.position
    history = service.engine.history(event.user_id)
    return float(history.time[-1]) + 1.0 if len(history) else 1.0
