"""Routes that keep items and users."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from client.sdk.answers.catalogue import Added, Deleted, ItemPage, Stored, UserPage
from client.sdk.answers.catalogue import Item as ItemAnswer
from client.sdk.answers.people import DeletedUser, UserProfile
from client.serving.analytics.user_profile import describe_user
from client.serving.http.description import answers
from client.serving.http.routing import PathId, decode_cursor, json_reply, page_body, service_of
from client.serving.http.schemas import ItemPatch, Items, Users, stored_values
from client.serving.service.service import Service
from client.store.database import UnknownError
from client.store.reading import day_as_text, page_of
from client.store.schema import Item
from client.store.schema import items as item_table
from client.store.schema import users as user_table

router = APIRouter(prefix="/api", tags=["items and users"])
Cursor = Annotated[str | None, Query(max_length=100)]
N = Annotated[int, Query(ge=1, le=1000)]
WHY_LEDGER_STAYS = (
    "The privacy ledger stays as it is: it holds what rounds of training cost, never a user's "
    "data, and without it nobody could verify the guarantee that was given to this user too."
)
STAYS = (
    {"what": "the privacy ledger", "why": WHY_LEDGER_STAYS},
    {
        "what": "releases that were made before",
        "why": "They left with noise that was paid for, so that they tell of no single user, and "
        "nobody can take one user out of them.",
    },
    {
        "what": "a keyed hash of the id",
        "why": "It keeps a later import from bringing the user back, and names nobody. POST "
        "/api/users/USER_ID/readmission removes it.",
    },
    {
        "what": "backups that were made before",
        "why": "Restoring one deletes the user again, where the list of deletions of today is "
        "there.",
    },
)
"""What a deletion leaves, and why."""


@router.post(
    "/items",
    summary="Add items",
    status_code=201,
    operation_id="add_items",
    responses=answers(Added, 409, status=201),
)
async def add_items(request: Request, items: Items) -> Response:
    """Stores new items; they can be recommended by their text from the next answer on."""
    records = [item.record() for item in items]
    service = service_of(request)
    job = await run_in_threadpool(service.add_items, records, replace=False)
    await asyncio.wrap_future(job)
    return json_reply({"added": len(records)}, 201)


@router.put(
    "/items",
    summary="Add or replace items",
    operation_id="put_items",
    responses=answers(Stored),
)
async def put_items(request: Request, items: Items) -> Response:
    """Stores items, in place of those with the same ids."""
    records = [item.record() for item in items]
    service = service_of(request)
    job = await run_in_threadpool(service.add_items, records, replace=True)
    await asyncio.wrap_future(job)
    return json_reply({"stored": len(records)})


@router.get(
    "/items",
    summary="List items",
    operation_id="list_items",
    responses=answers(ItemPage, 503),
)
async def list_items(request: Request, cursor: Cursor = None, n: N = 100) -> Response:
    """Lists items in order of arrival, a page at a time."""
    rows = await _page(service_of(request), item_table, cursor, n)
    page = page_body(rows, n=n, key="item_key")
    items = [item_view(Item(**row)) for row in page["rows"]]
    return json_reply({"items": items, "next_cursor": page["next_cursor"]})


@router.get(
    "/items/{item_id}",
    summary="One item",
    operation_id="get_item",
    responses=answers(ItemAnswer, 404),
)
async def get_item(request: Request, item_id: PathId) -> Response:
    """Returns an item."""
    items = service_of(request).engine.items
    row = items.rows.get(item_id)
    if row is None:
        raise UnknownError(
            "is not in the catalogue",
            name="item_id",
            value=f"{item_id!r}",
            remedy="check its spelling",
        )
    return json_reply(item_view(items.item_at(row)))


@router.patch(
    "/items/{item_id}",
    summary="Change some of an item's fields",
    operation_id="change_item",
    responses=answers(ItemAnswer, 404),
)
async def patch_item(request: Request, item_id: PathId, changes: ItemPatch) -> Response:
    """Changes the fields that are sent and leaves the others; the next answer knows it."""
    service, values = service_of(request), stored_values(changes.model_dump(exclude_unset=True))
    job = await run_in_threadpool(service.change_item, item_id, values)
    return json_reply(item_view(await asyncio.wrap_future(job)))


@router.delete(
    "/items/{item_id}",
    summary="Delete an item and its events",
    operation_id="delete_item",
    responses=answers(Deleted, 404),
)
async def delete_item(request: Request, item_id: PathId) -> Response:
    """Deletes an item with all its events."""
    await asyncio.wrap_future(service_of(request).delete_item(item_id))
    return json_reply({"deleted": item_id})


@router.post(
    "/users",
    summary="Add users",
    status_code=201,
    operation_id="add_users",
    responses=answers(Added, 409, status=201),
)
async def add_users(request: Request, users: Users) -> Response:
    """Stores new users; a user is also added by a first event."""
    records = [user.record() for user in users]
    await asyncio.wrap_future(service_of(request).add_users(records, replace=False))
    return json_reply({"added": len(records)}, 201)


@router.put(
    "/users",
    summary="Add or replace users",
    operation_id="put_users",
    responses=answers(Stored),
)
async def put_users(request: Request, users: Users) -> Response:
    """Stores users, in place of those with the same ids; their events stay."""
    records = [user.record() for user in users]
    await asyncio.wrap_future(service_of(request).add_users(records, replace=True))
    return json_reply({"stored": len(records)})


@router.get(
    "/users",
    summary="List users",
    operation_id="list_users",
    responses=answers(UserPage, 503),
)
async def list_users(request: Request, cursor: Cursor = None, n: N = 100) -> Response:
    """Lists users in order of arrival, a page at a time."""
    rows = await _page(service_of(request), user_table, cursor, n)
    page = page_body(rows, n=n, key="user_key")
    return json_reply({"users": page["rows"], "next_cursor": page["next_cursor"]})


@router.get(
    "/users/{user_id}/profile",
    summary="A user's picture in words and numbers",
    operation_id="user_profile",
    responses=answers(UserProfile, 404),
)
async def profile(request: Request, user_id: PathId) -> Response:
    """Describes a user's interests, price level, activity and favourite times."""
    picture = await run_in_threadpool(describe_user, service_of(request).engine, user_id)
    return json_reply(picture)


@router.delete(
    "/users/{user_id}",
    summary="Delete a user and everything that is known",
    operation_id="delete_user",
    responses=answers(DeletedUser, 404),
)
async def delete_user(request: Request, user_id: PathId) -> Response:
    """Deletes a user's events and profile; says what must stay, and why."""
    events = await asyncio.wrap_future(service_of(request).delete_user(user_id))
    return json_reply(
        {"deleted": user_id, "events": events, "kept": WHY_LEDGER_STAYS, "stays": STAYS}
    )


async def _page(
    service: Service, table: sa.Table, cursor: str | None, n: int
) -> list[dict[str, object]]:
    after = decode_cursor(cursor)

    def read() -> list[dict[str, object]]:
        with service.store.reading() as connection:
            return page_of(connection, table, after=after, n=n + 1)

    return await run_in_threadpool(read)


def item_view(item: Item) -> dict[str, Any]:
    """Describes an item; what comes can be sent back with PUT."""
    return {
        **{name: value for name, value in vars(item).items() if name != "extra"},
        "categories": item.all_categories,
        "valid_from": None if item.valid_from is None else day_as_text(item.valid_from),
        "valid_to": None if item.valid_to is None else day_as_text(item.valid_to),
    }
