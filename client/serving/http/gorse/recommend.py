"""Gorse's routes that recommend."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field
from starlette.exceptions import HTTPException

from client.serving.access.keys import ApiKey
from client.serving.features.events import today
from client.serving.http.gorse.feedback import store_feedback
from client.serving.http.gorse.records import GorseFeedback, Record
from client.serving.http.middleware import GORSE_API
from client.serving.http.routing import PathId, QuickRoute, json_reply, service_of
from client.serving.http.schemas import Id, Name
from client.serving.ranking.ranker import RecommendationRequest, RecommendationResult
from client.serving.service.service import Service
from client.serving.state.browse import RankedRows, latest, popular, similar_items
from shared.errors import DataError

router = APIRouter(prefix=GORSE_API, route_class=QuickRoute, include_in_schema=False)
N = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0, le=10_000)]
Category = Annotated[Name | None, Query()]
Scores = list[dict[str, Any]]
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|us|µs|ns|m|s)")


class SessionFeedback(Record):
    """Feedback of a visit, of which the item alone counts."""

    ItemId: Id


@router.get("/recommend/{user_id}")
@router.get("/recommend/{user_id}/")
@router.get("/recommend/{user_id}/{path_category}")
async def recommend(
    request: Request,
    user_id: PathId,
    path_category: PathId | None = None,
    category: Category = None,
    n: N = 10,
    offset: Offset = 0,
    write_back_type: Annotated[Name | None, Query(alias="write-back-type")] = None,
    write_back_delay: Annotated[str, Query(alias="write-back-delay", max_length=50)] = "",
) -> Response:
    """Ranks items that the user has given no feedback on; ids, or with scores in version 2."""
    service, delay = service_of(request), read_duration(write_back_delay)
    if write_back_type:
        _require_write(request)
    wanted = RecommendationRequest(
        "discover",
        n=n,
        offset=offset,
        category=path_category or category,
        exclude=_seen(service, user_id),
        diversity=service.settings.diversity,
        variant=service.variant_of(user_id),
    )
    result = service.recommend(wanted, user_id)
    scores = _scores_of(service, result)
    body = {"items": [{"item_id": one["Id"]} for one in scores]}
    service.shown(user_id, result, wanted, body)
    if write_back_type and scores:
        await _write_back(service, user_id, scores, kind=write_back_type, delay=delay)
    if request.headers.get("x-api-version", "").strip() == "2":
        return json_reply(scores)
    return json_reply([one["Id"] for one in scores])


@router.post("/session/recommend")
@router.post("/session/recommend/")
@router.post("/session/recommend/{path_category}")
async def session_recommend(
    request: Request,
    feedback: Annotated[list[SessionFeedback], Field(max_length=1000)],
    path_category: PathId | None = None,
    n: N = 10,
    offset: Offset = 0,
) -> Response:
    """Ranks items that go with those of a visit; nothing of it is stored."""
    service = service_of(request)
    wanted = RecommendationRequest(
        "session",
        n=n,
        offset=offset,
        category=path_category,
        diversity=service.settings.diversity,
        variant=service.variant_of(None),
    )
    result = service.recommend(wanted, None, [one.ItemId for one in feedback])
    return json_reply(_scores_of(service, result))


@router.get("/latest")
@router.get("/latest/")
@router.get("/latest/{path_category}")
async def get_latest(
    request: Request,
    path_category: PathId | None = None,
    category: Category = None,
    n: N = 10,
    offset: Offset = 0,
    user_id: Annotated[Id | None, Query(alias="user-id")] = None,
) -> Response:
    """Lists the items that came last."""
    service, seen = service_of(request), _seen(service_of(request), user_id)
    ranked = latest(service.engine, offset + n + len(seen), path_category or category)
    return json_reply(_page(service, ranked, seen=seen, offset=offset, n=n))


@router.get("/popular")
@router.get("/popular/")
@router.get("/popular/{path_category}")
async def get_popular(
    request: Request,
    path_category: PathId | None = None,
    category: Category = None,
    n: N = 10,
    offset: Offset = 0,
    user_id: Annotated[Id | None, Query(alias="user-id")] = None,
) -> Response:
    """Ranks items by the number of their users."""
    service, seen = service_of(request), _seen(service_of(request), user_id)
    ranked = popular(service.engine, offset + n + len(seen), path_category or category)
    return json_reply(_page(service, ranked, seen=seen, offset=offset, n=n))


@router.get("/non-personalized/{name}")
async def get_non_personalized(
    request: Request,
    name: PathId,  # noqa: ARG001
    category: Category = None,
    n: N = 10,
    offset: Offset = 0,
    user_id: Annotated[Id | None, Query(alias="user-id")] = None,
) -> Response:
    """Ranks items by the number of their users, whatever the list is called."""
    return await get_popular(
        request, category=category, n=n, offset=offset, user_id=user_id, path_category=None
    )


@router.get("/item/{item_id}/neighbors")
@router.get("/item/{item_id}/neighbors/")
@router.get("/item/{item_id}/neighbors/{path_category}")
async def get_item_neighbors(
    request: Request,
    item_id: PathId,
    path_category: PathId | None = None,
    category: Category = None,
    n: N = 10,
    offset: Offset = 0,
) -> Response:
    """Ranks items that go with an item."""
    service = service_of(request)
    wanted = path_category or category
    every = len(service.engine.items) if wanted else offset + n
    ranked = similar_items(service.engine, item_id, every)
    if wanted:
        rows, scores = ranked
        inside = service.engine.items.in_category(wanted)[rows]
        ranked = rows[inside], scores[inside]
    return json_reply(_page(service, ranked, offset=offset, n=n))


@router.get("/item-to-item/{name}/{item_id}")
async def get_item_to_item(
    request: Request,
    name: PathId,  # noqa: ARG001
    item_id: PathId,
    category: Category = None,
    n: N = 10,
    offset: Offset = 0,
) -> Response:
    """Ranks items that go with an item, whatever the list is called."""
    return await get_item_neighbors(
        request, item_id, category=category, n=n, offset=offset, path_category=None
    )


@router.get("/user/{user_id}/neighbors")
@router.get("/user/{user_id}/neighbors/")
async def get_user_neighbors(
    request: Request, user_id: PathId, n: N = 10, offset: Offset = 0
) -> Response:
    """Ranks users by the likeness of their profiles."""
    service = service_of(request)
    ids, scores, _ = await run_in_threadpool(
        service.user_index.similar, user_id, offset + n, seconds=service.settings.answer_seconds
    )
    pairs = list(zip(ids, scores.tolist(), strict=True))[offset:]
    return json_reply([{"Id": one, "Score": score} for one, score in pairs])


@router.get("/user-to-user/{name}/{user_id}")
async def get_user_to_user(
    request: Request,
    name: PathId,  # noqa: ARG001
    user_id: PathId,
    n: N = 10,
    offset: Offset = 0,
) -> Response:
    """Ranks users by the likeness of their profiles, whatever the list is called."""
    return await get_user_neighbors(request, user_id, n=n, offset=offset)


def read_duration(text: str) -> timedelta:
    """Reads a duration as Go writes it: `10m`, `1h30m`, `500ms`, `-5m`.

    Raises:
        DataError: It is none.
    """
    body = text.removeprefix("-")
    parts = _PART.findall(body)
    if body not in ("", "0") and "".join(number + unit for number, unit in parts) != body:
        raise DataError(
            "is no duration",
            name="write-back-delay",
            value=repr(text),
            remedy="write hours, minutes and seconds as in 1h30m10s",
        )
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return timedelta(seconds=min(-seconds if text.startswith("-") else seconds, 1e10))


def _require_write(request: Request) -> None:
    """Refuses to write back for a key that may only read: the method says nothing of it."""
    key: ApiKey | None = request.scope.get("api_key")
    if key is not None and not key.may("write"):
        raise HTTPException(403, f"the key has the role {key.role}, write-back-type needs write")


async def _write_back(
    service: Service, user_id: str, scores: Scores, *, kind: str, delay: timedelta
) -> None:
    """Stores that items were shown, as of a later time where there is a delay."""
    at = datetime.now(UTC) + delay
    shown = [
        GorseFeedback(FeedbackType=kind, UserId=user_id, ItemId=one["Id"], Timestamp=at)
        for one in scores
    ]
    await store_feedback(service, shown)


def _seen(service: Service, user_id: str | None) -> tuple[str, ...]:
    """Returns the items that a user has given feedback on up to now."""
    engine = service.engine
    with engine.lock:
        history = engine.history(user_id)
        past = history.time <= today() if engine.sources.time_unit == "days" else slice(None)
        items = [engine.items.items[row] for row in np.unique(history.item[past]).tolist()]
    return tuple(item.item_id for item in items if item is not None)


def _scores_of(service: Service, result: RecommendationResult) -> Scores:
    return _page(service, (result.ranking.items, result.ranking.scores))


def _page(
    service: Service,
    ranked: RankedRows,
    *,
    seen: tuple[str, ...] = (),
    offset: int = 0,
    n: int | None = None,
) -> Scores:
    """Describes a ranking from a place on, without what was deleted since or has been seen."""
    rows, scores = ranked
    table, known = service.engine.items.items, frozenset(seen)
    pairs = zip(rows.tolist(), scores.tolist(), strict=True)
    named = [(item.item_id, score) for row, score in pairs if (item := table[row]) is not None]
    shown = [{"Id": one, "Score": score} for one, score in named if one not in known]
    return shown[offset:] if n is None else shown[offset : offset + n]
