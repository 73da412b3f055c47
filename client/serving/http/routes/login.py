"""The page's session: a key once, then a cookie that no script and no other site can use."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from client.sdk.answers.operation import PageSession
from client.serving.access.keys import SESSION_SECONDS, ApiKey, KeyRing
from client.serving.http.description import answers
from client.serving.http.middleware import SESSION_COOKIE
from client.serving.http.routing import json_reply

router = APIRouter(prefix="/api", tags=["operation"])


@router.post(
    "/login",
    summary="Begin a session of the page",
    operation_id="login",
    responses=answers(PageSession),
)
async def login(request: Request) -> Response:
    """Takes the key in X-API-Key and gives a cookie in its place, for 12 hours."""
    key: ApiKey | None = request.scope.get("api_key")
    if key is None:  # a node within a program, without keys
        return json_reply({"role": "admin", "seconds": None})
    if "x-api-key" not in request.headers:  # a cookie must not renew itself for ever
        raise HTTPException(401, "a session begins with the key itself")
    ring: KeyRing = request.app.state.keys
    reply = json_reply({"role": key.role, "seconds": SESSION_SECONDS})
    reply.set_cookie(
        SESSION_COOKIE,
        ring.begin_session(key),
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.headers.get("origin", "").startswith("https://"),
    )
    return reply


@router.post(
    "/logout",
    summary="End a session of the page",
    operation_id="logout",
    responses=answers(PageSession),
)
async def logout() -> Response:
    """Takes the cookie back."""
    reply = json_reply({"role": None})
    reply.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
    return reply
