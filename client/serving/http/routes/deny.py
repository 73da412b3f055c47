"""The route of settings that change while the node runs: items that are shown nowhere."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from client.sdk.answers.operation import DeniedItemList
from client.serving.http.description import answers
from client.serving.http.routing import json_reply, service_of
from client.serving.http.schemas import DeniedItems

router = APIRouter(prefix="/api/settings", tags=["operation"])


@router.get(
    "/deny",
    summary="Items that are shown nowhere",
    operation_id="denied_items",
    responses=answers(DeniedItemList),
)
async def denied(request: Request) -> Response:
    """Lists the denied items; those of `--deny` are `fixed` until the node starts anew."""
    service = service_of(request)
    fixed = set(service.settings.deny)
    items = sorted(service.engine.items.denied - fixed)
    return json_reply({"items": items, "fixed": sorted(fixed)})


@router.put(
    "/deny",
    summary="Choose the items that are shown nowhere",
    operation_id="set_denied_items",
    responses=answers(DeniedItemList, 404),
)
async def deny(request: Request, chosen: DeniedItems) -> Response:
    """Takes the whole list, from the next answer on and for good; an unknown id changes nothing."""
    service = service_of(request)
    await asyncio.wrap_future(service.deny(chosen.items))
    return await denied(request)
