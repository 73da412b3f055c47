"""Answers as plain values, ready for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from client.serving.asking import Answer, Ask
from client.serving.engine import Engine
from client.serving.explaining import explain
from client.store.records import Item


def recommendation(
    engine: Engine, answer: Answer, ask: Ask, *, with_reasons: bool
) -> dict[str, Any]:
    """Describes a ranking: `surface`, `variant`, `items` and where the next page begins."""
    ranking = answer.ranking
    found = []
    with engine.lock:
        for place, (row, score) in enumerate(
            zip(ranking.items.tolist(), ranking.scores.tolist(), strict=True)
        ):
            entry: dict[str, Any] = {"item_id": engine.items.known(row).item_id, "score": score}
            if with_reasons:
                entry["explanation"] = explain(engine, answer, place)
            found.append(entry)
    full = len(found) == ask.n
    return {
        "surface": ask.surface,
        "variant": ask.variant,
        "items": found,
        "next_offset": ask.offset + ask.n if full else None,
    }


def item_view(item: Item) -> dict[str, Any]:
    """Describes an item."""
    return {
        "item_id": item.item_id,
        "text": item.text,
        "category": item.category,
        "brand": item.brand,
        "price": item.price,
        "in_stock": item.in_stock,
        "hidden": item.hidden,
    }


def scored_items(engine: Engine, rows: Any, scores: Any) -> list[dict[str, Any]]:
    """Describes items with a score each."""
    pairs = zip(np.asarray(rows).tolist(), np.asarray(scores).tolist(), strict=True)
    return [{"item_id": engine.items.known(r).item_id, "score": float(s)} for r, s in pairs]
