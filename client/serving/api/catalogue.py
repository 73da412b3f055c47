"""Routes that keep items and users."""

from __future__ import annotations

import asyncio
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from client.serving.answers import item_view
from client.serving.api.paths import PathId
from client.serving.api.recommending import service_of
from client.serving.api.replies import key_of, page, reply
from client.serving.api.schemas import Items, Users
from client.serving.profiles import picture
from client.serving.service import Service
from client.store.faults import UnknownError
from client.store.reading import page_of
from client.store.tables import items as item_table
from client.store.tables import users as user_table

router = APIRouter(prefix="/api", tags=["items and users"])
Cursor = Annotated[str | None, Query(max_length=100)]
N = Annotated[int, Query(ge=1, le=1000)]
LEDGER = (
    "The privacy ledger stays as it is: it holds what rounds of training cost, never a user's "
    "data, and without it nobody could verify the guarantee that was given to this user too."
)


@router.post("/items", summary="Add items", status_code=201)
async def add_items(request: Request, items: Items) -> Response:
    """Stores new items; they can be recommended by their text from the next answer on."""
    records = [item.record() for item in items]
    service = service_of(request)
    job = await run_in_threadpool(service.add_items, records, replace=False)
    await asyncio.wrap_future(job)
    return reply({"added": len(records)}, 201)


@router.put("/items", summary="Add or replace items")
async def put_items(request: Request, items: Items) -> Response:
    """Stores items, in place of those with the same ids."""
    records = [item.record() for item in items]
    service = service_of(request)
    job = await run_in_threadpool(service.add_items, records, replace=True)
    await asyncio.wrap_future(job)
    return reply({"stored": len(records)})


@router.get("/items", summary="List items")
async def list_items(request: Request, cursor: Cursor = None, n: N = 100) -> Response:
    """Lists items in order of arrival, a page at a time."""
    rows = await _page(service_of(request), item_table, cursor, n)
    found = page(rows, n=n, key="item_key")
    return reply({"items": found["rows"], "next_cursor": found["next_cursor"]})


@router.get("/items/{item_id}", summary="One item")
async def get_item(request: Request, item_id: PathId) -> Response:
    """Returns an item."""
    items = service_of(request).engine.items
    row = items.rows.get(item_id)
    if row is None:
        raise UnknownError(f"item_id={item_id!r} is not in the catalogue; check its spelling")
    return reply(item_view(items.known(row)))


@router.delete("/items/{item_id}", summary="Delete an item and its events")
async def delete_item(request: Request, item_id: PathId) -> Response:
    """Deletes an item with all its events."""
    await asyncio.wrap_future(service_of(request).delete_item(item_id))
    return reply({"deleted": item_id})


@router.post("/users", summary="Add users", status_code=201)
async def add_users(request: Request, users: Users) -> Response:
    """Stores new users; a user is also added by a first event."""
    records = [user.record() for user in users]
    await asyncio.wrap_future(service_of(request).add_users(records, replace=False))
    return reply({"added": len(records)}, 201)


@router.put("/users", summary="Add or replace users")
async def put_users(request: Request, users: Users) -> Response:
    """Stores users, in place of those with the same ids; their events stay."""
    records = [user.record() for user in users]
    await asyncio.wrap_future(service_of(request).add_users(records, replace=True))
    return reply({"stored": len(records)})


@router.get("/users", summary="List users")
async def list_users(request: Request, cursor: Cursor = None, n: N = 100) -> Response:
    """Lists users in order of arrival, a page at a time."""
    rows = await _page(service_of(request), user_table, cursor, n)
    found = page(rows, n=n, key="user_key")
    return reply({"users": found["rows"], "next_cursor": found["next_cursor"]})


@router.get("/users/{user_id}/profile", summary="A user's picture in words and numbers")
async def profile(request: Request, user_id: PathId) -> Response:
    """Describes a user's interests, price level, activity and favourite times."""
    return reply(picture(service_of(request).engine, user_id))


@router.delete("/users/{user_id}", summary="Delete a user and everything that is known")
async def delete_user(request: Request, user_id: PathId) -> Response:
    """Deletes a user's events and profile; says what must stay, and why."""
    events = await asyncio.wrap_future(service_of(request).delete_user(user_id))
    return reply({"deleted": user_id, "events": events, "kept": LEDGER})


async def _page(
    service: Service, table: sa.Table, cursor: str | None, n: int
) -> list[dict[str, object]]:
    after = key_of(cursor)

    def read() -> list[dict[str, object]]:
        with service.store.reading() as connection:
            return page_of(connection, table, after=after, n=n + 1)

    return await run_in_threadpool(read)
