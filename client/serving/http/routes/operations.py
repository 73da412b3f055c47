"""Routes for operators: health, metrics, weights, whether it helps, and what the ledger says."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from client.sdk.answers.operation import Live, OnlineReport, Ready, ReloadedAdapter, Status
from client.sdk.answers.outcomes import OutcomeReport
from client.sdk.answers.privacy import LedgerVerdict, PrivacyAccount
from client.serving.analytics.ab_test import comparisons
from client.serving.analytics.outcome_report import outcome_report
from client.serving.analytics.privacy_report import NO_LEDGER, privacy_report, verification_report
from client.serving.http.description import answers, text_answer
from client.serving.http.routing import json_reply, service_of
from client.store.database import StoreUnavailableError
from shared.errors import ModelError

router = APIRouter(tags=["operation"])


@router.get(
    "/health/live",
    summary="Whether the process answers",
    operation_id="live",
    responses=answers(Live),
)
async def live() -> Response:
    """Answers as long as the process runs."""
    return json_reply({"live": True})


@router.get(
    "/health/ready",
    summary="Whether recommendations can be given",
    operation_id="ready",
    responses=answers(Ready) | answers(Ready, status=503),
)
async def ready(request: Request) -> Response:
    """Says what is loaded; 503 where the database does not answer."""
    service = service_of(request)
    try:
        await run_in_threadpool(service.store.fact, "time_unit")
    except StoreUnavailableError:
        return json_reply({"ready": False, "reason": "the database does not answer"}, 503)
    return json_reply({"ready": True, "uptime_seconds": round(time.time() - service.started, 1)})


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    operation_id="metrics",
    responses=text_answer("text/plain", "fedprofile_adapter_swaps_total 0.0\n"),
)
async def metrics(request: Request) -> Response:
    """Returns all metrics in Prometheus' text format."""
    text = service_of(request).metrics.text()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get(
    "/api/status",
    summary="What is loaded and how it is fused",
    operation_id="status",
    responses=answers(Status),
)
async def status(request: Request) -> Response:
    """Returns adapter, sizes, and fusion weights with what they are worth on validation."""
    return json_reply(service_of(request).status())


@router.post(
    "/api/adapter/reload",
    summary="Read the adapter folder again",
    operation_id="reload_adapter",
    responses=answers(ReloadedAdapter, 409),
)
async def reload(request: Request) -> Response:
    """Puts the adapter in place that now lies in the folder of --adapter."""
    service = service_of(request)
    folder = service.watch.folder
    if folder is None:
        raise ModelError(
            "the node serves without an adapter",
            remedy="restart it with `fedprofile node serve --adapter FOLDER`",
        )
    await run_in_threadpool(service.reload_adapter, folder)
    return json_reply({"adapter": service.engine.sources.space.adapter})


@router.get(
    "/api/online",
    summary="Impressions, clicks and purchases",
    operation_id="online_report",
    responses=answers(OnlineReport),
)
async def online(request: Request) -> Response:
    """Returns rates with 95% intervals by surface, variant and signal.

    `comparisons` says how far `fused` lies above `local` where the A/B switch gives both.
    """
    report = service_of(request).online.report()
    return json_reply({"surfaces": report, "comparisons": comparisons(report)})


@router.get(
    "/api/outcomes",
    summary="What recommendations brought",
    operation_id="outcome_report",
    responses=answers(OutcomeReport),
)
async def outcomes(request: Request) -> Response:
    """Returns counts, rates and revenue with 95% intervals, in all and by week; and items.

    Items are those that were clicked most and least often, and those that were never shown.
    Everything is counted as it happens, so that no event is read again.
    """
    service = service_of(request)
    counted = service.online.outcomes
    return json_reply(await run_in_threadpool(lambda: outcome_report(counted(), service.engine)))


privacy_router = APIRouter(prefix="/api/privacy", tags=["privacy"])


@privacy_router.get(
    "",
    summary="What privacy the shop has spent and what is left",
    operation_id="privacy",
    responses=answers(PrivacyAccount, 409),
)
async def privacy(request: Request) -> Response:
    """Returns the ledger's account: budget, rounds and the guarantee in words."""
    path = service_of(request).settings.ledger
    if path is None:
        return json_reply({"configured": False, "remedy": NO_LEDGER})
    report = await run_in_threadpool(privacy_report, path, now=datetime.now(UTC))
    return json_reply({"configured": True, **report})


@privacy_router.post(
    "/verify",
    summary="Verify the ledger now",
    operation_id="verify_ledger",
    responses=answers(LedgerVerdict, 409),
)
async def verify(request: Request) -> Response:
    """Checks chain, signatures and the owner's anchor; says what was checked and what not."""
    path = service_of(request).settings.ledger
    if path is None:
        return json_reply({"configured": False, "remedy": NO_LEDGER})
    return json_reply({"configured": True, **await run_in_threadpool(verification_report, path)})
