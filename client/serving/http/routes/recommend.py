"""Routes that recommend, and their answers as plain values."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from client.sdk.answers.rankings import (
    BasketRanking,
    ItemRanking,
    Recommendation,
    SessionRecommendation,
    UserRanking,
)
from client.serving.http.description import answers
from client.serving.http.routing import PathId, QuickRoute, json_reply, service_of
from client.serving.http.schemas import MAX_OFFSET, Id, Name, SessionIn
from client.serving.ranking.ranker import RecommendationRequest, RecommendationResult
from client.serving.service.service import Service
from client.serving.state.browse import latest, popular, search, similar_items
from client.serving.state.engine import RecommendationEngine
from client.serving.state.explain import explain

router = APIRouter(prefix="/api", tags=["recommend"], route_class=QuickRoute)
N = Annotated[int, Query(ge=1, le=200)]
Offset = Annotated[int, Query(ge=0, le=MAX_OFFSET)]
Share = Annotated[float, Query(ge=0, le=1, allow_inf_nan=False)]


@router.get(
    "/recommend/{user_id}",
    summary="Recommend items to a user",
    operation_id="recommend",
    responses=answers(Recommendation),
)
async def recommend(
    request: Request,
    user_id: PathId,
    surface: Literal["for-you", "discover", "buy-again"] = "for-you",
    n: N = 10,
    offset: Offset = 0,
    category: Name | None = None,
    exclude: Annotated[list[Id] | None, Query(max_length=100)] = None,
    explain: bool = False,
    diversity: Share | None = None,
    max_per_category: Annotated[int, Query(ge=1, le=200)] | None = None,
    preview: bool = False,
) -> Response:
    """Ranks items for a user; somebody unknown gets what a new visitor gets.

    A preview is not shown to the user, and counts as no impression.
    """
    service = service_of(request)
    wanted = RecommendationRequest(
        surface,
        n=n,
        offset=offset,
        category=category,
        exclude=tuple(exclude or ()),
        diversity=service.settings.diversity if diversity is None else diversity,
        max_per_category=max_per_category,
        variant=service.variant_of(user_id),
    )
    result = service.recommend(wanted, user_id)
    body = await _body(service, result, wanted, with_reasons=explain)
    if not preview:
        service.shown(user_id, result, wanted, body)
    return json_reply({"user_id": user_id, **body})


@router.post(
    "/session/recommend",
    summary="Recommend items for a cart or an anonymous visit",
    operation_id="recommend_for_session",
    responses=answers(SessionRecommendation),
)
async def session_recommend(request: Request, session: SessionIn) -> Response:
    """Ranks items that go with a cart; nothing of the cart is stored."""
    service = service_of(request)
    diversity = session.diversity
    wanted = RecommendationRequest(
        "session",
        n=session.n,
        offset=session.offset,
        category=session.category,
        exclude=tuple(session.exclude),
        diversity=service.settings.diversity if diversity is None else diversity,
        max_per_category=session.max_per_category,
        variant=service.variant_of(session.user_id),
    )
    result = service.recommend(wanted, session.user_id, session.items)
    body = await _body(service, result, wanted, with_reasons=session.explain)
    if session.user_id is not None and not session.preview:
        service.shown(session.user_id, result, wanted, body)
    return json_reply(body)


@router.get(
    "/items/{item_id}/similar",
    summary="Items that go with an item",
    operation_id="similar_items",
    responses=answers(ItemRanking, 404),
)
async def similar(
    request: Request, item_id: PathId, n: N = 10, user_id: Id | None = None
) -> Response:
    """Ranks items by text and co-purchase with one item."""
    engine = service_of(request).engine
    return json_reply({"items": scored_items(engine, *similar_items(engine, item_id, n, user_id))})


@router.get(
    "/items/{item_id}/bought-together",
    summary="Items of the same baskets",
    operation_id="bought_together",
    responses=answers(BasketRanking, 404),
)
def bought_together(
    request: Request, item_id: PathId, n: N = 10, user_id: Id | None = None
) -> Response:
    """Ranks items by how much more often they lie in a basket with this one than in any.

    `baskets` counts those with both.
    """
    service = service_of(request)
    ranked, together = service.bought_together.ranked(item_id, n, user_id)
    items = scored_items(service.engine, *ranked)
    baskets = together[ranked[0]].tolist()
    pairs = zip(items, baskets, strict=True)
    return json_reply({"items": [{**item, "baskets": n} for item, n in pairs]})


@router.get(
    "/search",
    summary="Search the catalogue by text",
    operation_id="search",
    responses=answers(ItemRanking),
)
def find(
    request: Request,
    q: Annotated[str, Query(min_length=1, max_length=500, pattern=r"^[^\x00]*$")],
    user_id: Id | None = None,
    n: N = 10,
) -> Response:
    """Ranks items by the meaning and the words of a query, nearer a user's taste where given."""
    service = service_of(request)
    ranked = search(service.engine, service.texts.of_search(q), q, user_id, n)
    return json_reply({"items": scored_items(service.engine, *ranked)})


@router.get(
    "/users/{user_id}/similar",
    summary="Users of like taste",
    operation_id="similar_users",
    responses=answers(UserRanking, 404),
)
def alike(request: Request, user_id: PathId, n: N = 10) -> Response:
    """Ranks users by the likeness of their profiles.

    `complete` is false while the node still reads the profiles of all users after its start.
    """
    service = service_of(request)
    seconds = service.settings.answer_seconds
    ids, scores, complete = service.user_index.similar(user_id, n, seconds=seconds)
    pairs = zip(ids, scores.tolist(), strict=True)
    users = [{"user_id": i, "score": s} for i, s in pairs]
    return json_reply({"users": users, "complete": complete})


@router.get(
    "/popular",
    summary="Items with most users",
    operation_id="popular_items",
    responses=answers(ItemRanking),
)
async def most_popular(
    request: Request, n: N = 10, category: Name | None = None, user_id: Id | None = None
) -> Response:
    """Ranks items by the number of their users."""
    engine = service_of(request).engine
    return json_reply({"items": scored_items(engine, *popular(engine, n, category, user_id))})


@router.get(
    "/latest",
    summary="Items that came last",
    operation_id="latest_items",
    responses=answers(ItemRanking),
)
async def newest(
    request: Request, n: N = 10, category: Name | None = None, user_id: Id | None = None
) -> Response:
    """Lists the items that came last into the catalogue."""
    engine = service_of(request).engine
    return json_reply({"items": scored_items(engine, *latest(engine, n, category, user_id))})


async def _body(
    service: Service,
    result: RecommendationResult,
    request: RecommendationRequest,
    *,
    with_reasons: bool,
) -> dict[str, Any]:
    """Describes a ranking: `surface`, `variant`, `items` and where the next page begins."""
    ranking, table = result.ranking, service.engine.items.items
    entries: dict[int, dict[str, Any]] = {}
    for place, row in enumerate(ranking.items.tolist()):
        item = table[row]
        if item is not None:  # else it was deleted since it was ranked
            entries[place] = {"item_id": item.item_id, "score": float(ranking.scores[place])}
    after = request.offset + request.n
    body = {
        "surface": request.surface,
        "variant": request.variant,
        "items": list(entries.values()),
        "next_offset": after if len(ranking) == request.n and after <= MAX_OFFSET else None,
    }
    if with_reasons:
        seconds = service.settings.answer_seconds
        body["complete"] = await run_in_threadpool(
            _explain_all, service.engine, result, entries, seconds
        )
    return body


def _explain_all(
    engine: RecommendationEngine,
    result: RecommendationResult,
    entries: dict[int, dict[str, Any]],
    seconds: float,
) -> bool:
    """Explains items, best first, for as long as there is time; says whether all of them are."""
    ends = time.monotonic() + seconds
    for place, entry in entries.items():
        if "explanation" in next(iter(entries.values())) and time.monotonic() > ends:
            return False
        with engine.lock:  # anew for each: other answers come in between
            if engine.items.items[int(result.ranking.items[place])] is not None:
                entry["explanation"] = explain(engine, result, place)
    return True


def scored_items(engine: RecommendationEngine, rows: Any, scores: Any) -> list[dict[str, Any]]:
    """Describes items with a score each."""
    pairs = zip(np.asarray(rows).tolist(), np.asarray(scores).tolist(), strict=True)
    return [{"item_id": engine.items.item_at(r).item_id, "score": float(s)} for r, s in pairs]
