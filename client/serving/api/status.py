"""Routes for operators: health, metrics, weights and whether it helps."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from client.serving.api.recommending import service_of
from client.serving.api.replies import reply
from client.serving.online import comparisons
from client.store.faults import StoreUnavailableError
from shared.errors import ModelError

router = APIRouter(tags=["operation"])


@router.get("/health/live", summary="Whether the process answers")
async def live() -> Response:
    """Answers as long as the process runs."""
    return reply({"live": True})


@router.get("/health/ready", summary="Whether recommendations can be given")
async def ready(request: Request) -> Response:
    """Says what is loaded; 503 where the database does not answer."""
    service = service_of(request)
    try:
        await run_in_threadpool(service.store.fact, "time_unit")
    except StoreUnavailableError:
        return reply({"ready": False, "reason": "the database does not answer"}, 503)
    return reply({"ready": True, "uptime_seconds": round(time.time() - service.started, 1)})


@router.get("/metrics", summary="Prometheus metrics")
async def metrics(request: Request) -> Response:
    """Returns all metrics in Prometheus' text format."""
    text = service_of(request).metrics.text()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/api/status", summary="What is loaded and how it is fused")
async def status(request: Request) -> Response:
    """Returns adapter, sizes, and fusion weights with what they are worth on validation."""
    return reply(service_of(request).status())


@router.post("/api/adapter/reload", summary="Read the adapter folder again")
async def reload(request: Request) -> Response:
    """Puts the adapter in place that now lies in the folder of --adapter."""
    service = service_of(request)
    folder = service.watch.folder
    if folder is None:
        raise ModelError("the node serves without an adapter; restart it with --adapter FOLDER")
    await run_in_threadpool(service.swap_adapter, folder)
    return reply({"adapter": service.engine.sources.space.adapter})


@router.get("/api/online", summary="Impressions, clicks and purchases")
async def online(request: Request) -> Response:
    """Returns rates with 95% intervals by surface, variant and signal.

    `comparisons` says how far `fused` lies above `local` where the A/B switch gives both.
    """
    report = service_of(request).online.report()
    return reply({"surfaces": report, "comparisons": comparisons(report)})
