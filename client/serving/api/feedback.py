"""Routes that take, change and list events."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from client.serving.api.paths import PathId
from client.serving.api.recommending import service_of
from client.serving.api.replies import key_of, page, reply
from client.serving.api.schemas import EventIn, Events, Id
from client.serving.moments import day_of, shown
from client.serving.service import Service
from client.store.reading import page_of_events
from client.store.records import Event
from shared.errors import DataError
from shared.interactions.events import EVENT_TYPES

router = APIRouter(prefix="/api/feedback", tags=["feedback"])


@router.post("", summary="Add events", status_code=201)
async def add(request: Request, events: Events) -> Response:
    """Stores events; answers when they are on the disk and the next answer knows them.

    An event whose id is stored already is passed over.
    """
    service = service_of(request)
    records = _records(service, events)
    fresh = await asyncio.wrap_future(service.add_events(records))
    ids = [event.event_id for event in records]
    return reply(
        {"added": len(fresh), "repeated": len(records) - len(fresh), "event_ids": ids}, 201
    )


@router.put("", summary="Replace events")
async def put(request: Request, events: Events) -> Response:
    """Puts events in place of those with the same ids, or adds them; every one needs an id."""
    service = service_of(request)
    if any(event.event_id is None for event in events):
        raise DataError("event_id is missing in an event; PUT replaces by id, so give each one")
    records = _records(service, events)
    await asyncio.wrap_future(service.replace_events(records))
    return reply({"replaced": len(records)})


@router.delete("/{event_id}", summary="Delete an event")
async def delete(request: Request, event_id: PathId) -> Response:
    """Deletes one event."""
    await asyncio.wrap_future(service_of(request).delete_event(event_id))
    return reply({"deleted": event_id})


@router.get("", summary="List events")
async def listing(
    request: Request,
    user_id: Id | None = None,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
    n: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Lists events in order of arrival, a page at a time."""
    service = service_of(request)
    after = key_of(cursor)

    def read() -> list[dict[str, object]]:
        with service.store.reading() as connection:
            return page_of_events(connection, after=after, n=n + 1, user_id=user_id)

    found = page(await run_in_threadpool(read), n=n, key="event_key")
    unit = service.engine.sources.unit
    for row in found["rows"]:
        row["event_type"] = EVENT_TYPES[row["event_type"]]
        row["time"] = shown(row["time"], unit)
    return reply({"events": found["rows"], "next_cursor": found["next_cursor"]})


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
        session=_session(event.session_id),
    )


def _time(service: Service, event: EventIn) -> float:
    if service.engine.sources.unit == "days":
        return day_of(event.time, future_seconds=service.settings.future_seconds)
    if event.position is not None:
        return event.position
    known = service.engine.history(event.user_id)
    return float(known.time[-1]) + 1.0 if len(known) else 1.0


def _session(session_id: str | None) -> int:
    """Returns a code for a visit's name, far above those of imported visits."""
    if session_id is None:
        return -1
    digest = hashlib.sha256(session_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 2 | 1 << 61
