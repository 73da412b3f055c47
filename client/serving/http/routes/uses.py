"""Routes of uses: what else the shop's own history answers, of one user and as lists."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic_core import to_json

from client.sdk.answers.uses import UseList, UseOverview, UserUses
from client.serving.http.description import answers
from client.serving.http.routing import PathId, QuickRoute, json_reply, service_of

router = APIRouter(prefix="/api", tags=["uses"], route_class=QuickRoute)
Limit = Annotated[int, Query(ge=1, le=1_000_000)]


@router.get(
    "/uses",
    summary="Uses of the shop's history beside recommending",
    operation_id="list_uses",
    responses=answers(UseOverview),
)
async def overview(request: Request) -> Response:
    """Says of each use what it is for, and whether it is ready; the first who asks waits for it."""
    return json_reply({"uses": service_of(request).uses.overview()})


@router.get(
    "/users/{user_id}/uses",
    summary="What every use tells of a user, with reasons",
    operation_id="user_uses",
    responses=answers(UserUses, 404),
)
async def of_user(request: Request, user_id: PathId) -> Response:
    """Gives scores, probabilities where answers tell them, ranks, and what moves each score."""
    told = await run_in_threadpool(service_of(request).uses.of_user, user_id)
    return json_reply(told)


@router.get(
    "/uses/{name}/list",
    summary="A use as a list to act on, best first",
    operation_id="use_list",
    responses=answers(UseList, 400),
)
async def listed(request: Request, name: PathId, limit: Limit = 100) -> Response:
    """Lists users (or categories) without those who may not be trained on."""
    uses = service_of(request).uses

    def read() -> bytes:
        return to_json(uses.listed(name, limit=limit))

    return Response(await run_in_threadpool(read), media_type="application/json")
