"""Gorse's routes of items and their categories."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from client.serving.http.gorse.listing import Cursor, PageN, read_page
from client.serving.http.gorse.records import (
    GorseItem,
    GorseItemPatch,
    as_timestamp,
    item_record,
    item_view,
)
from client.serving.http.middleware import GORSE_API
from client.serving.http.routing import PathId, json_reply, service_of
from client.serving.service.service import Service
from client.serving.state.browse import search
from client.store.changes import item_of
from client.store.schema import Item
from client.store.schema import items as item_table

router = APIRouter(prefix=GORSE_API, include_in_schema=False)
Items = Annotated[list[GorseItem], Field(max_length=10_000)]
_patching = asyncio.Lock()
"""Held from reading an item to the change: of two patches at once neither may undo the other."""


@router.post("/item")
async def insert_item(request: Request, item: GorseItem) -> Response:
    """Stores an item, in place of one with the same id."""
    return await insert_items(request, [item])


@router.post("/items")
async def insert_items(request: Request, items: Items) -> Response:
    """Stores items, in place of those with the same ids."""
    service = service_of(request)
    records = [item_record(_view(item)) for item in items]
    if records:
        job = await run_in_threadpool(service.add_items, records, replace=True)
        await asyncio.wrap_future(job)
    return json_reply({"RowAffected": len(records)})


@router.get("/items")
async def get_items(
    request: Request,
    cursor: Cursor = "",
    n: PageN = 10,
    q: Annotated[str, Query(max_length=500, pattern=r"^[^\x00]*$")] = "",
) -> Response:
    """Lists items in order of arrival, or those that a search finds."""
    service = service_of(request)
    if q:
        found = await run_in_threadpool(_search, service, q, n)
        return json_reply({"Cursor": "", "Items": found})
    following, rows = await run_in_threadpool(read_page, service, item_table, cursor=cursor, n=n)
    listed = [item_view(_item(row)) for row in rows]
    return json_reply({"Cursor": following, "Items": listed})


@router.get("/item/{item_id}")
async def get_item(request: Request, item_id: PathId) -> Response:
    """Returns an item."""
    item = await run_in_threadpool(_read_item, service_of(request), item_id)
    return json_reply(item_view(item))


@router.patch("/item/{item_id}")
async def modify_item(request: Request, item_id: PathId, patch: GorseItemPatch) -> Response:
    """Changes what is sent and not null."""
    changed = patch.model_dump(exclude_none=True)
    if "Timestamp" in changed:
        changed["Timestamp"] = as_timestamp(changed["Timestamp"])
    return await _change(service_of(request), item_id, lambda view: view | changed)


@router.delete("/item/{item_id}")
async def delete_item(request: Request, item_id: PathId) -> Response:
    """Deletes an item with all its feedback."""
    await asyncio.wrap_future(service_of(request).delete_item(item_id))
    return json_reply({"RowAffected": 1})


@router.put("/item/{item_id}/category/{category}")
async def insert_category(request: Request, item_id: PathId, category: PathId) -> Response:
    """Adds a category to an item."""

    def add(view: dict[str, Any]) -> dict[str, Any]:
        return view | {"Categories": list(dict.fromkeys([*view["Categories"], category]))}

    return await _change(service_of(request), item_id, add)


@router.delete("/item/{item_id}/category/{category}")
async def delete_category(request: Request, item_id: PathId, category: PathId) -> Response:
    """Takes a category off an item."""

    def remove(view: dict[str, Any]) -> dict[str, Any]:
        return view | {"Categories": [name for name in view["Categories"] if name != category]}

    return await _change(service_of(request), item_id, remove)


async def _change(
    service: Service, item_id: str, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> Response:
    async with _patching:
        before = await run_in_threadpool(_read_item, service, item_id)
        after = item_record(change(item_view(before)))
        names = ("text", "category", "categories", "hidden", "extra")
        values = {n: getattr(after, n) for n in names if getattr(after, n) != getattr(before, n)}
        if values:
            job = await run_in_threadpool(service.change_item, item_id, values)
            await asyncio.wrap_future(job)
    return json_reply({"RowAffected": 1})


def _read_item(service: Service, item_id: str) -> Item:
    with service.store.reading() as connection:
        return item_of(connection, item_id)


def _item(row: Any) -> Item:
    return Item(**{name: row._mapping[name] for name in Item.__dataclass_fields__})


def _view(item: GorseItem) -> dict[str, Any]:
    return {
        "ItemId": item.ItemId,
        "IsHidden": bool(item.IsHidden),
        "Categories": item.Categories or [],
        "Timestamp": as_timestamp(item.Timestamp),
        "Labels": item.Labels,
        "Comment": item.Comment or "",
    }


def _search(service: Service, words: str, n: int) -> list[dict[str, Any]]:
    rows, _ = search(service.engine, service.texts.of_search(words), words, None, n)
    items = [service.engine.items.items[row] for row in rows.tolist()]
    return [item_view(item) for item in items if item is not None]
