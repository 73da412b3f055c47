"""Why an item is recommended: which signals and which of the user's items brought it."""

from __future__ import annotations

from typing import Any

import numpy as np

from client.serving.asking import Answer
from client.serving.engine import Engine
from client.serving.signals import NAMES, Sources

_WORDS = {
    "popularity": "many customers of this shop take it",
    "recency": "it has sold well of late",
    "frequency": "you often take it",
    "item-knn": "it is often taken with {items}",
    "ease": "it goes with {items}",
    "text": "it is like {items}",
    "global": "it fits your profile, as with {items}",
    "pairs": "shoppers of other shops buy it together with {items}",
    "prior": "many shoppers of other shops take it",
}
_ITEMS = 3


def explain(engine: Engine, answer: Answer, place: int) -> dict[str, Any]:
    """Explains one place of an answer.

    Returns:
        `sentence`; `signals`: name -> what it adds to the score, which they sum up to; `because`:
        items of the context by signal, with the share of the signal's raw score that each carries.
    """
    row = int(answer.ranking.items[place])
    parts = answer.ranking.parts[place]
    used = {name: float(part) for name, part in zip(NAMES, parts, strict=True) if part != 0}
    carriers = {name: _carriers(engine, answer, name, row) for name in used}
    leading = sorted((name for name in used if used[name] > 0), key=lambda name: -used[name])
    item_id = engine.items.known(row).item_id
    phrases = ["you took it before"] if row in answer.context.own_items else []
    for name in leading[:2]:
        names = [c["item_id"] for c in carriers[name] if c["item_id"] != item_id]
        if names or "{items}" not in _WORDS[name]:
            phrases.append(_WORDS[name].format(items=" and ".join(names[:2])))
    sentence = ", and ".join(phrases) or "nothing speaks against it"
    return {
        "sentence": f"{sentence[0].upper()}{sentence[1:]}.",
        "signals": used,
        "because": {name: found for name, found in carriers.items() if found},
    }


def _carriers(engine: Engine, answer: Answer, name: str, row: int) -> list[dict[str, Any]]:
    """Returns the items of the context that a signal rests on, most important first."""
    context, sources = answer.context, engine.sources
    tables = {"item-knn": sources.near, "ease": sources.ease, "pairs": sources.pairs.near}
    if name in tables:
        table = tables[name]
        values = [
            v * table.between(int(item), row)
            for item, v in zip(context.items, context.visits, strict=True)
        ]
    elif name in ("text", "global"):
        values = _likeness(sources, answer, name, row)
    else:
        return []
    weights = np.asarray(values, dtype=np.float64)
    total = np.abs(weights).sum()
    best = [int(i) for i in np.argsort(-weights)[:_ITEMS] if weights[i] > 0]
    found = []
    for place in best:
        item = engine.items.items[int(context.items[place])]
        if item is not None:
            share = round(float(weights[place] / total), 4)
            found.append({"item_id": item.item_id, "share": share})
    return found


def _likeness(sources: Sources, answer: Answer, name: str, row: int) -> list[float]:
    """Splits a profile's score among the items of the context; it is linear in them."""
    space, events = sources.space, answer.events
    target = space.vectors[row]
    if name == "global" and space.projection is not None:
        target = target @ space.projection[:, :-1]
    half_life = space.half_life if name == "global" else space.text_half_life
    age = events.time.max(initial=0.0) - events.time
    weights = events.amount * np.exp2(-age / half_life)
    values = weights * (space.vectors[events.item] @ target)
    place = np.searchsorted(answer.context.items, events.item)
    shares: list[float] = np.bincount(place, values, minlength=len(answer.context.items)).tolist()
    return shares
