"""A user's picture in words and numbers, from the events in memory."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import numpy as np

from client.serving.features.events import time_as_text
from client.serving.features.interactions import UserEvents
from client.serving.state.engine import RecommendationEngine
from client.store.database import UnknownError
from client.store.reading import EPOCH
from shared.interactions.events import EVENT_TYPES

_TOP = 5
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_PARTS = ("night", "morning", "afternoon", "evening")


def describe_user(engine: RecommendationEngine, user_id: str) -> dict[str, Any]:
    """Describes a user.

    Returns:
        Interests by category and brand with weights that sum to 1 over all of them, price level
        among the shop's prices (0 cheapest, 1 dearest), activity, recency, favourite times,
        segment, and the events that carry the profile most.

    Raises:
        UnknownError: The user is not stored.
    """
    with engine.lock:
        if user_id not in engine.users:
            raise UnknownError(
                "is not stored", name="user_id", value=f"{user_id!r}", remedy="check its spelling"
            )
        events = engine.history(user_id)
        time_unit, moment = engine.sources.time_unit, engine.moment(events)
        weights = _weights(engine, events, moment)
        picture = {
            "user_id": user_id,
            "segment": engine.segments.get(user_id) or _segment(events, moment, time_unit),
            "events": len(events),
            "event_types": dict(Counter(EVENT_TYPES[k] for k in events.event_type.tolist())),
            "different_items": len(np.unique(events.item)),
            "first": time_as_text(float(events.time[0]), time_unit) if len(events) else None,
            "last": time_as_text(float(events.time[-1]), time_unit) if len(events) else None,
            "since_last": round(moment - float(events.time[-1]), 3) if len(events) else None,
            "categories": _interests(engine, events, weights, "category"),
            "brands": _interests(engine, events, weights, "brand"),
            "price_level": _price_level(engine, events),
            "times": _times(events) if time_unit == "days" else None,
            "carried_by": _carriers(engine, events, weights),
        }
    picture["words"] = _words(picture)
    return picture


def _weights(engine: RecommendationEngine, events: UserEvents, moment: float) -> Any:
    """Shares of the events in the text profile, `(n,)`, sum 1."""
    half_life = engine.sources.space.text_half_life
    age = np.maximum(moment - events.time, 0.0)
    raw = events.amount * np.exp2(-(age - age.min(initial=np.inf)) / half_life)
    return raw / max(float(raw.sum()), 1e-12)


def _interests(
    engine: RecommendationEngine, events: UserEvents, weights: Any, attribute: str
) -> list[dict[str, Any]]:
    codes = getattr(engine.items, attribute)[events.item]
    names = list(engine.items.categories if attribute == "category" else engine.items.brands)
    sums = np.bincount(codes[codes >= 0], weights[codes >= 0], minlength=len(names))
    best = [int(code) for code in np.argsort(-sums, kind="stable")[:_TOP] if sums[code] > 0]
    return [{"name": names[code], "weight": round(float(sums[code]), 4)} for code in best]


def _price_level(engine: RecommendationEngine, events: UserEvents) -> float | None:
    """Mean place of the user's items among the shop's prices, None where prices are not known."""
    known = np.sort(engine.items.price[~np.isnan(engine.items.price)])
    paid = engine.items.price[events.item]
    paid = paid[~np.isnan(paid)]
    if not len(known) or not len(paid):
        return None
    return round(float(np.searchsorted(known, paid).mean() / len(known)), 4)


def _segment(events: UserEvents, moment: float, time_unit: str) -> str:
    if not len(events):
        return "new"
    if time_unit == "days" and moment - float(events.time[-1]) > 90:
        return "lapsed"
    return "new" if len(events) < 5 else "regular"


def _times(events: UserEvents) -> dict[str, Any] | None:
    """Favourite day of the week and part of the day (UTC)."""
    if not len(events):
        return None
    moments = [EPOCH + timedelta(days=time) for time in events.time.tolist()]
    days = Counter(_DAYS[moment.weekday()] for moment in moments)
    parts = Counter(_PARTS[moment.hour // 6] for moment in moments)
    return {"day": days.most_common(1)[0][0], "part_of_day": parts.most_common(1)[0][0]}


def _carriers(
    engine: RecommendationEngine, events: UserEvents, weights: Any
) -> list[dict[str, Any]]:
    carriers = []
    for place in np.argsort(-weights, kind="stable")[:_TOP].tolist():
        item = engine.items.items[int(events.item[place])]
        if item is not None:
            carriers.append(
                {
                    "item_id": item.item_id,
                    "event_type": EVENT_TYPES[events.event_type[place]],
                    "time": time_as_text(float(events.time[place]), engine.sources.time_unit),
                    "weight": round(float(weights[place]), 4),
                }
            )
    return carriers


def _words(picture: dict[str, Any]) -> str:
    if not picture["events"]:
        return "Nothing is known of this user yet."
    likes = [interest["name"] for interest in picture["categories"][:3]]
    level = picture["price_level"]
    price = "" if level is None else f"; {_level(level)} prices"
    liked = f", mostly {', '.join(likes)}" if likes else ""
    return f"A {picture['segment']} customer with {picture['events']} events{liked}{price}."


def _level(level: float) -> str:
    return "low" if level < 1 / 3 else "middle" if level < 2 / 3 else "high"
