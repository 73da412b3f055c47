"""Why an item is recommended: which signals and which of the user's items brought it."""

from __future__ import annotations

from typing import Any

import numpy as np

from client.recommenders.queries import Floats
from client.serving.ranking.ranker import RecommendationResult
from client.serving.ranking.signals import SIGNAL_NAMES, SignalSources, profile_weights_of
from client.serving.state.engine import RecommendationEngine

_WORDS = {
    "popularity": "many customers of this shop take it",
    "frequency": "you often take it",
    "item-knn": "it is often taken with {items}",
    "ease": "it goes with {items}",
    "sequence": "customers take it after {items}",
    "text": "it is like {items}",
    "text-map": "it suits customers who take {items}",
    "global": "it fits your profile, as with {items}",
    "pairs": "shoppers of other shops buy it together with {items}",
    "prior": "many shoppers of other shops take it",
}
_RULE_WORDS = {
    "pin": "the shop's rule {} puts it at its place",
    "boost": "the shop's rule {} moves it up",
    "bury": "the shop's rule {} moves it down",
}
_ITEMS = 3


def explain(
    engine: RecommendationEngine, result: RecommendationResult, place: int
) -> dict[str, Any]:
    """Explains one place of an answer.

    Returns:
        `sentence`; `rules` of the shop that moved it, where there are any; `signals`: name -> what
        it adds to the score, which they sum up to, `moved` by rules and dislikes among them;
        `because`: items of the context by signal, with the share of the signal's raw score that
        each carries.
    """
    row = int(result.ranking.items[place])
    parts = result.ranking.parts[place]
    contributions = {
        name: float(part) for name, part in zip(SIGNAL_NAMES, parts, strict=True) if part != 0
    }
    carriers = {name: _carriers(engine, result, name, row) for name in contributions}
    leading = sorted(
        (name for name in contributions if contributions[name] > 0),
        key=lambda name: -contributions[name],
    )
    item_id = engine.items.item_at(row).item_id
    rules = result.rules.names.get(row, ())
    phrases = [_RULE_WORDS[effect].format(name) for name, effect in rules]
    phrases += ["you took it before"] if row in result.context.own_items else []
    for name in leading[:2]:
        names = [c["item_id"] for c in carriers[name] if c["item_id"] != item_id]
        if names or "{items}" not in _WORDS[name]:
            phrases.append(_WORDS[name].format(items=" and ".join(names[:2])))
    sentence = ", and ".join(phrases) or "nothing speaks against it"
    return {
        "sentence": f"{sentence[0].upper()}{sentence[1:]}.",
        **_rules_of(result, place),
        "signals": contributions | _moved_by(result, place),
        "because": {name: items for name, items in carriers.items() if items},
    }


def _rules_of(result: RecommendationResult, place: int) -> dict[str, Any]:
    rules = result.rules.names.get(int(result.ranking.items[place]), ())
    return {"rules": [{"name": n, "effect": e} for n, e in rules]} if rules else {}


def _moved_by(result: RecommendationResult, place: int) -> dict[str, float]:
    moved = result.ranking.moved
    added = 0.0 if moved is None else float(moved[place])
    return {"moved": added} if added else {}


def _carriers(
    engine: RecommendationEngine, result: RecommendationResult, name: str, row: int
) -> list[dict[str, Any]]:
    """Returns the items of the context that a signal rests on, most important first."""
    context, sources = result.context, engine.sources
    if name in sources.local:
        values = sources.local[name].explain(context, row)
    elif name == "pairs" and sources.federated_ease is not None:
        values = sources.federated_ease.explain(context, row)
    elif name in ("text", "text-map", "global"):
        values = _likeness(sources, result, name, row)
    else:
        return []
    weights = np.asarray(values, dtype=np.float64)
    total = np.abs(weights).sum()  # EASE has negative weights too
    best = [int(i) for i in np.argsort(-weights)[:_ITEMS] if weights[i] > 0]
    carriers = []
    for place in best:
        item = engine.items.items[int(context.items[place])]
        if item is not None:
            share = round(float(weights[place] / total), 4)
            carriers.append({"item_id": item.item_id, "share": share})
    return carriers


def _likeness(
    sources: SignalSources, result: RecommendationResult, name: str, row: int
) -> list[float]:
    """Splits a profile's score among the items of the context; it is linear in them."""
    space, events = sources.space, result.events
    target = space.vectors[row]
    if name == "global" and space.projection is not None:
        target = target @ space.projection[:, :-1]
    if name == "text-map" and space.text_map is not None:
        target = space.text_map @ target
    half_life = space.half_life if name == "global" else space.text_half_life
    age = events.time.max(initial=0.0) - events.time
    weights = profile_weights_of(events, age, half_life)
    vectors = space.vectors[events.item]
    values = weights * (vectors @ target)
    if name == "global":
        values = _with_co_purchase(sources, result, row, weights, values, vectors)
    place = np.searchsorted(result.context.items, events.item)
    shares: list[float] = np.bincount(place, values, minlength=len(result.context.items)).tolist()
    return shares


def _with_co_purchase(
    sources: SignalSources,
    result: RecommendationResult,
    row: int,
    weights: Floats,
    likeness: Floats,
    vectors: Floats,
) -> Floats:
    """Adds what each event brings by co-purchase to what it brings by texts, on one scale."""
    co_purchase = sources.federated.co_purchase
    if co_purchase is None:
        return likeness
    scores = co_purchase.scores(co_purchase.shares(result.events.item, weights))
    place = int(np.searchsorted(co_purchase.head, row))
    if place == len(co_purchase.head) or co_purchase.head[place] != row:
        return likeness
    length = max(float(np.linalg.norm(weights @ vectors)), 1e-12)
    together: Floats = sources.federated.scale * likeness / length + scores[:, place]
    return together
