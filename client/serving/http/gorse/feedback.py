"""Gorse's routes of feedback: one event for each type, user and item."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from client.serving.features.events import event_day
from client.serving.http.gorse.feedback_types import event_id_of, event_type_of, has_type
from client.serving.http.gorse.listing import Cursor, PageN, read_feedback
from client.serving.http.gorse.records import (
    GorseFeedback,
    as_extra,
    as_timestamp,
    feedback_view,
)
from client.serving.http.middleware import GORSE_API
from client.serving.http.routing import PathId, json_reply, service_of
from client.serving.service.service import Service
from client.store.changes import keys_of
from client.store.database import ConflictError, UnknownError
from client.store.schema import Event, Item, events
from client.store.schema import items as item_table
from client.store.suppression import deleted_among

router = APIRouter(prefix=GORSE_API, include_in_schema=False)
Feedback = Annotated[list[GorseFeedback], Field(max_length=10_000)]


@router.post("/feedback")
async def insert_feedback(request: Request, feedback: Feedback) -> Response:
    """Stores feedback; what is there already stays as it is."""
    service = service_of(request)
    if feedback:
        await store_feedback(service, feedback)
    return json_reply({"RowAffected": len(feedback)})


@router.put("/feedback")
async def upsert_feedback(request: Request, feedback: Feedback) -> Response:
    """Stores feedback, in place of what is there already."""
    service = service_of(request)
    if feedback:
        await store_feedback(service, feedback, replace=True)
    return json_reply({"RowAffected": len(feedback)})


@router.get("/feedback")
async def get_feedback(request: Request, cursor: Cursor = "", n: PageN = 10) -> Response:
    """Lists feedback in order of arrival."""
    return await _page(service_of(request), cursor=cursor, n=n)


@router.get("/feedback/{feedback_type}")
async def get_typed_feedback(
    request: Request, feedback_type: PathId, cursor: Cursor = "", n: PageN = 10
) -> Response:
    """Lists feedback of a type in order of arrival."""
    return await _page(service_of(request), cursor=cursor, n=n, types=[feedback_type])


@router.get("/feedback/{user_id}/{item_id}")
async def get_user_item_feedback(request: Request, user_id: PathId, item_id: PathId) -> Response:
    """Lists all feedback between a user and an item."""
    return json_reply(await _all(service_of(request), user_id=user_id, item_id=item_id))


@router.get("/feedback/{feedback_type}/{user_id}/{item_id}")
async def get_typed_user_item_feedback(
    request: Request, feedback_type: PathId, user_id: PathId, item_id: PathId
) -> Response:
    """Returns the feedback of a type between a user and an item, `{}` for none."""
    found = await _all(service_of(request), types=[feedback_type], user_id=user_id, item_id=item_id)
    return json_reply(found[0] if found else {})


@router.delete("/feedback/{user_id}/{item_id}")
async def delete_user_item_feedback(request: Request, user_id: PathId, item_id: PathId) -> Response:
    """Deletes all feedback between a user and an item."""
    return await _delete(service_of(request), user_id, item_id)


@router.delete("/feedback/{feedback_type}/{user_id}/{item_id}")
async def delete_typed_user_item_feedback(
    request: Request, feedback_type: PathId, user_id: PathId, item_id: PathId
) -> Response:
    """Deletes the feedback of a type between a user and an item."""
    return await _delete(service_of(request), user_id, item_id, [feedback_type])


@router.get("/user/{user_id}/feedback")
async def get_feedback_by_user(request: Request, user_id: PathId) -> Response:
    """Lists all feedback of a user."""
    return json_reply(await _all(service_of(request), user_id=user_id))


@router.get("/user/{user_id}/feedback/{feedback_type}")
async def get_typed_feedback_by_user(
    request: Request, user_id: PathId, feedback_type: PathId
) -> Response:
    """Lists a user's feedback of a type."""
    return json_reply(await _all(service_of(request), types=[feedback_type], user_id=user_id))


@router.get("/item/{item_id}/feedback")
@router.get("/item/{item_id}/feedback/")
async def get_feedback_by_item(request: Request, item_id: PathId) -> Response:
    """Lists all feedback on an item."""
    return json_reply(await _all(service_of(request), item_id=item_id))


@router.get("/item/{item_id}/feedback/{feedback_type}")
async def get_typed_feedback_by_item(
    request: Request, item_id: PathId, feedback_type: PathId
) -> Response:
    """Lists the feedback of a type on an item."""
    return json_reply(await _all(service_of(request), types=[feedback_type], item_id=item_id))


async def store_feedback(
    service: Service, feedback: Sequence[GorseFeedback], *, replace: bool = False
) -> None:
    """Stores feedback; users and items that are new are added, as Gorse does.

    Args:
        service: That stores it.
        feedback: One event for each type, user and item; of equals the last one counts where they
            replace, else the first.
        replace: Whether it takes the place of what is there.

    Raises:
        ConflictError: A user was deleted; nothing is stored.
        UnknownError: An item was deleted; nothing is stored.
        DataError: A time is out of bounds.
    """
    ranks: dict[str, float] = {}
    records = [_event(service, one, ranks) for one in feedback]
    if replace:
        records = list({event.event_id: event for event in records}.values())
    await run_in_threadpool(_add_new_items, service, {event.item_id for event in records})
    store = service.replace_events if replace else service.add_events
    await asyncio.wrap_future(store(records))


def _add_new_items(service: Service, item_ids: set[str]) -> None:
    """Adds items of which nothing but the id is known; those that were deleted stay away."""
    with service.store.reading() as connection:
        new = item_ids - set(keys_of(connection, item_table, item_ids))
        gone = sorted(deleted_among(connection, new))
    if gone:
        raise UnknownError(
            "was deleted",
            name="item_id",
            value=f"{gone[0]!r}",
            remedy="send the item again first, or leave it out",
        )
    records = [Item(item_id) for item_id in sorted(new)]
    try:
        if records:
            service.add_items(records, replace=False).result()
    except ConflictError:  # somebody else was quicker with one of them
        for record in records:
            with suppress(ConflictError):
                service.add_items([record], replace=False).result()


def _event(service: Service, feedback: GorseFeedback, ranks: dict[str, float]) -> Event:
    name, user_id, item_id = feedback.FeedbackType, feedback.UserId, feedback.ItemId
    now = datetime.now(UTC)
    return Event(
        event_id=event_id_of(name, user_id, item_id),
        user_id=user_id,
        item_id=item_id,
        time=_time(service, feedback, ranks),
        event_type=event_type_of(name, service.settings.feedback_types),
        extra=as_extra(
            FeedbackType=name,
            Value=feedback.Value or 0.0,
            Timestamp=as_timestamp(feedback.Timestamp or now),
            Updated=as_timestamp(now),
            Labels=feedback.Labels,
            Comment=feedback.Comment or "",
        ),
    )


def _time(service: Service, feedback: GorseFeedback, ranks: dict[str, float]) -> float:
    if service.engine.sources.time_unit == "days":
        return event_day(feedback.Timestamp, future_seconds=service.settings.future_seconds)
    user_id = feedback.UserId
    if user_id not in ranks:
        history = service.engine.history(user_id)
        ranks[user_id] = float(history.time[-1]) if len(history) else 0.0
    ranks[user_id] += 1.0
    return ranks[user_id]


async def _page(service: Service, **wanted: Any) -> Response:
    cursor, rows = await run_in_threadpool(lambda: read_feedback(service, **wanted))
    return json_reply({"Cursor": cursor, "Feedback": _views(service, rows)})


async def _all(service: Service, **wanted: Any) -> list[dict[str, Any]]:
    _, rows = await run_in_threadpool(lambda: read_feedback(service, **wanted))
    return _views(service, rows)


def _views(service: Service, rows: Sequence[Any]) -> list[dict[str, Any]]:
    unit = service.engine.sources.time_unit
    return [feedback_view(row, time_unit=unit) for row in rows]


async def _delete(
    service: Service, user_id: str, item_id: str, types: Sequence[str] = ()
) -> Response:
    with service.store.reading() as connection:
        keys = keys_of(connection, item_table, {item_id})
    if not keys:
        return json_reply({"RowAffected": 0})
    condition = events.c.item_key == keys[item_id]
    if types:
        condition &= has_type(types)
    n = await asyncio.wrap_future(service.delete_events_where(user_id, condition))
    return json_reply({"RowAffected": n})
