"""Routes that say what the shop's ledger says."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from client.serving.account import NO_LEDGER, account_of, verdict_of
from client.serving.api.recommending import service_of
from client.serving.api.replies import reply

router = APIRouter(prefix="/api/privacy", tags=["privacy"])


@router.get("", summary="What privacy the shop has spent and what is left")
async def privacy(request: Request) -> Response:
    """Returns the ledger's account: budget, rounds and the guarantee in words."""
    path = service_of(request).settings.ledger
    if path is None:
        return reply({"configured": False, "remedy": NO_LEDGER})
    found = await run_in_threadpool(account_of, path, now=datetime.now(UTC))
    return reply({"configured": True, **found})


@router.post("/verify", summary="Verify the ledger now")
async def verify(request: Request) -> Response:
    """Checks chain, signatures and the owner's anchor; says what was checked and what not."""
    path = service_of(request).settings.ledger
    if path is None:
        return reply({"configured": False, "remedy": NO_LEDGER})
    return reply({"configured": True, **await run_in_threadpool(verdict_of, path)})
