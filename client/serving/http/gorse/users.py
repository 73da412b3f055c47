"""Gorse's routes of users."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from client.serving.http.gorse.listing import Cursor, PageN, read_page, read_user
from client.serving.http.gorse.records import GorseUser, GorseUserPatch, as_extra, user_view
from client.serving.http.middleware import GORSE_API
from client.serving.http.routing import PathId, json_reply, service_of
from client.store.schema import User
from client.store.schema import users as user_table

router = APIRouter(prefix=GORSE_API, include_in_schema=False)
Users = Annotated[list[GorseUser], Field(max_length=10_000)]
_patching = asyncio.Lock()
"""Held from reading a user to the change: of two patches at once neither may undo the other."""


@router.post("/user")
async def insert_user(request: Request, user: GorseUser) -> Response:
    """Stores a user, in place of one with the same id."""
    return await insert_users(request, [user])


@router.post("/users")
async def insert_users(request: Request, users: Users) -> Response:
    """Stores users, in place of those with the same ids."""
    service = service_of(request)
    records = [
        User(user.UserId, extra=as_extra(Labels=user.Labels, Comment=user.Comment or ""))
        for user in users
    ]
    if records:
        await asyncio.wrap_future(service.add_users(records, replace=True))
    return json_reply({"RowAffected": len(records)})


@router.get("/users")
async def get_users(request: Request, cursor: Cursor = "", n: PageN = 10) -> Response:
    """Lists users in order of arrival."""
    service = service_of(request)
    following, rows = await run_in_threadpool(read_page, service, user_table, cursor=cursor, n=n)
    return json_reply({"Cursor": following, "Users": [user_view(row) for row in rows]})


@router.get("/user/{user_id}")
async def get_user(request: Request, user_id: PathId) -> Response:
    """Returns a user."""
    return json_reply(user_view(await run_in_threadpool(read_user, service_of(request), user_id)))


@router.patch("/user/{user_id}")
async def modify_user(request: Request, user_id: PathId, patch: GorseUserPatch) -> Response:
    """Changes what is sent and not null."""
    service = service_of(request)
    async with _patching:
        row = await run_in_threadpool(read_user, service, user_id)
        view = user_view(row)
        labels = view["Labels"] if patch.Labels is None else patch.Labels
        comment = view["Comment"] if patch.Comment is None else patch.Comment
        user = User(row.user_id, row.segment, extra=as_extra(Labels=labels, Comment=comment))
        await asyncio.wrap_future(service.add_users([user], replace=True))
    return json_reply({"RowAffected": 1})


@router.delete("/user/{user_id}")
async def delete_user(request: Request, user_id: PathId) -> Response:
    """Deletes a user with all feedback, and keeps the id out from then on."""
    await asyncio.wrap_future(service_of(request).delete_user(user_id))
    return json_reply({"RowAffected": 1})
