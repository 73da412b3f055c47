"""Lists beside recommendations: like items, search, popular and latest."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from client.serving.ranking.ranker import capped_places, top_k
from client.serving.ranking.rules import places
from client.serving.state.engine import RecommendationEngine
from client.store.database import UnknownError

RankedRows = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]
PROFILE_WEIGHT = 0.3
"""Weight of the user's profile in a personalised search, beside 1 for the query."""
WORDS_WEIGHT = 0.5
"""What an item gains in a search whose words its text holds, all of them once; see
`WordIndex.scores`. Chosen on queries that no figure is told of."""


def similar_items(
    engine: RecommendationEngine, item_id: str, n: int, user_id: str | None = None
) -> RankedRows:
    """Finds items that go with an item: half by text, half by co-purchase.

    Raises:
        UnknownError: The item is not in the catalogue.
    """
    with engine.lock:
        row = row_of(engine, item_id)
        scores = engine.likeness(np.array([row], dtype=np.int64))
        return ranked_by_rules(
            engine, "similar", scores, n, without=np.array([row]), user_id=user_id
        )


def row_of(engine: RecommendationEngine, item_id: str) -> int:
    """Returns an item's row.

    Raises:
        UnknownError: The item is not in the catalogue.
    """
    row = engine.items.rows.get(item_id)
    if row is None:
        raise UnknownError(
            "is not in the catalogue",
            name="item_id",
            value=f"{item_id!r}",
            remedy="check its spelling",
        )
    return row


def search(
    engine: RecommendationEngine,
    query: npt.NDArray[np.float32],
    words: str,
    user_id: str | None,
    n: int,
) -> RankedRows:
    """Finds items by the meaning and the words of a query, nearer the taste of a user who is named.

    Args:
        engine: The state.
        query: Vector of the query, `(d,)`.
        words: Its text.
        user_id: Whose taste counts; None or an unknown one for nobody's.
        n: Items at most; those of which nothing is like the query are left out.
    """
    with engine.lock:
        vectors = engine.sources.space.vectors
        scores = vectors.scores(query)
        scores = scores + WORDS_WEIGHT * engine.items.words.scores(words, n_rows=len(scores))
        found = engine.items.shown & (scores > 0)
        events = engine.history(user_id).without(engine.disliked(user_id))
        if len(events):
            context = engine.sources.context(events, events)
            profile = PROFILE_WEIGHT * engine.sources.space.text_profile(context.text)
            scores += vectors.scores(profile.astype(np.float32))
        best = top_k(np.where(found, scores, -np.inf), max(20 * n, 200))
        return ranked_by_rules(engine, "search", scores, n, among=best, user_id=user_id)


def popular(
    engine: RecommendationEngine, n: int, category: str | None, user_id: str | None = None
) -> RankedRows:
    """Finds the items with most users."""
    with engine.lock:
        scores = engine.sources.popularity.users.astype(np.float32)
        return ranked_by_rules(engine, "popular", scores, n, category=category, user_id=user_id)


def latest(
    engine: RecommendationEngine, n: int, category: str | None, user_id: str | None = None
) -> RankedRows:
    """Finds the items that came last into the catalogue; the score is the order of arrival."""
    with engine.lock:
        scores = np.arange(len(engine.items), dtype=np.float32)
        return ranked_by_rules(engine, "latest", scores, n, category=category, user_id=user_id)


def ranked_by_rules(
    engine: RecommendationEngine,
    surface: str,
    scores: npt.NDArray[np.float32],
    n: int,
    *,
    without: npt.NDArray[np.int64] | None = None,
    category: str | None = None,
    among: npt.NDArray[np.int64] | None = None,
    user_id: str | None = None,
) -> RankedRows:
    """Takes the best items that may be shown, by the shop's rules of a surface.

    Args:
        engine: The state.
        surface: Where the list is shown.
        scores: Of all items, `(n_items,)`.
        n: Items at most.
        without: Items to leave out.
        category: Only items of it.
        among: Only these and what rules pin or boost; None for all.
        user_id: Whose disliked items are left out; None for nobody's.
    """
    allowed = engine.items.shown.copy()
    allowed[engine.disliked(user_id)] = False
    if without is not None:
        allowed[without] = False
    if category is not None:
        allowed &= engine.items.in_category(category)
    rules = engine.rules.on(surface, engine.items)
    moved = rules.moved(scores, allowed)
    if among is not None:
        near = np.zeros_like(allowed)
        near[among] = True
        near[[row for row in rules.names if rules.shift is None or rules.shift[row] >= 0]] = True
        allowed &= near
    scores = scores if moved is None else scores + moved
    pinned = rules.pinned(allowed)
    rows = np.array([row for _, row in pinned], dtype=np.int64)
    allowed[rows] = False
    asked = np.where(allowed, scores, -np.inf).astype(np.float32)
    best = top_k(asked, len(asked) if rules.cap else n)
    if rules.cap:
        groups = engine.items.category
        best = best[
            capped_places(groups[best], rules.most, bounds=rules.bounds, taken=groups[rows])
        ]
    order = places([place for place, _ in pinned], len(best))
    best = np.concatenate([rows, best])[order][:n]
    return best, scores[best]
