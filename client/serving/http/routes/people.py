"""Routes about a person's own will: consent, everything that is held, and coming back."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from client.sdk.answers.people import (
    ChangedConsent,
    ChangedDislike,
    ConsentState,
    Dislikes,
    Readmitted,
)
from client.serving.features.events import time_as_text
from client.serving.http.description import answers, text_answer
from client.serving.http.routing import PathId, json_reply, service_of
from client.serving.http.schemas import ConsentIn, DislikeIn
from client.store.consent import consent_default, read_consent
from client.store.user_export import as_lines, export_user

router = APIRouter(prefix="/api/users", tags=["items and users"])
WORDS: dict[str, bool | None] = {"allow": True, "refuse": False, "default": None}
"""What a caller may say about training."""
_EXPORT = (
    '{"kind": "user", "user_id": "u1", "segment": "", "person_id": null, "training": "nothing", '
    '"training_default": "opt-out"}\n'
)


@router.get(
    "/{user_id}/export",
    summary="Everything that is held about a user",
    operation_id="export_user",
    responses=text_answer("application/x-ndjson", _EXPORT, 404, 503),
)
async def export(request: Request, user_id: PathId) -> Response:
    """Gives the user's record, then every event with its original ids, one JSON object a line."""
    service = service_of(request)
    unit = service.engine.sources.time_unit

    def read() -> str:
        with service.store.reading() as connection:
            records = export_user(
                connection, user_id, time_text=lambda time: time_as_text(time, unit)
            )
            return "".join(as_lines(records))

    return Response(await run_in_threadpool(read), media_type="application/x-ndjson")


@router.get(
    "/{user_id}/dislikes",
    summary="Items that a user does not like",
    operation_id="get_dislikes",
    responses=answers(Dislikes),
)
async def get_dislikes(request: Request, user_id: PathId) -> Response:
    """Lists the items that are not shown to the user."""
    items = service_of(request).engine.dislikes.get(user_id, set())
    return json_reply({"user_id": user_id, "items": sorted(items)})


@router.put(
    "/{user_id}/dislikes/{item_id}",
    summary="Dislike an item, or take it back",
    operation_id="put_dislike",
    responses=answers(ChangedDislike, 404, 503),
)
async def put_dislike(
    request: Request, user_id: PathId, item_id: PathId, dislike: DislikeIn
) -> Response:
    """Never shows the user the item again and lowers what is like it, from the next answer on."""
    job = service_of(request).set_dislike(user_id, item_id, disliked=dislike.disliked)
    await asyncio.wrap_future(job)
    return json_reply({"user_id": user_id, "item_id": item_id, "disliked": dislike.disliked})


@router.get(
    "/{user_id}/consent",
    summary="Whether a user may be trained on",
    operation_id="get_consent",
    responses=answers(ConsentState, 404, 503),
)
async def get_consent(request: Request, user_id: PathId) -> Response:
    """Says what the user said, and what holds for who has said nothing."""
    service = service_of(request)

    def read() -> tuple[bool | None, str]:
        with service.store.reading() as connection:
            return read_consent(connection, user_id), consent_default(connection)

    said, default = await run_in_threadpool(read)
    word = next(word for word, value in WORDS.items() if value is said)
    allowed = default == "opt-out" if said is None else said
    return json_reply(
        {"user_id": user_id, "training": word, "default": default, "trained_on": allowed}
    )


@router.put(
    "/{user_id}/consent",
    summary="Allow or refuse training",
    operation_id="set_consent",
    responses=answers(ChangedConsent, 404),
)
async def put_consent(request: Request, user_id: PathId, consent: ConsentIn) -> Response:
    """Who refuses is served as before, and never trained on or counted in a release from now on."""
    job = service_of(request).set_consent(user_id, WORDS[consent.training])
    await asyncio.wrap_future(job)
    return json_reply({"user_id": user_id, "training": consent.training})


@router.post(
    "/{user_id}/readmission",
    summary="Let a deleted user in again",
    operation_id="readmit_user",
    responses=answers(Readmitted),
)
async def readmit(request: Request, user_id: PathId) -> Response:
    """Takes a user off the list of those who were deleted; what was deleted does not come back."""
    was_deleted = await asyncio.wrap_future(service_of(request).readmit_user(user_id))
    return json_reply({"user_id": user_id, "was_deleted": was_deleted})
