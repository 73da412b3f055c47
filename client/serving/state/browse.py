"""Lists beside recommendations: like items, search, popular and latest."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from client.serving.ranking.ranker import top_k
from client.serving.state.engine import RecommendationEngine
from client.store.database import UnknownError

RankedRows = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]
PROFILE_WEIGHT = 0.3
"""Weight of the user's profile in a personalised search, beside 1 for the query."""
WORDS_WEIGHT = 0.3
"""What an item gains in a search whose words its text holds, all of them."""


def similar_items(engine: RecommendationEngine, item_id: str, n: int) -> RankedRows:
    """Finds items that go with an item: half by text, half by co-purchase.

    Raises:
        UnknownError: The item is not in the catalogue.
    """
    with engine.lock:
        row = engine.items.rows.get(item_id)
        if row is None:
            raise UnknownError(
                "is not in the catalogue",
                name="item_id",
                value=f"{item_id!r}",
                remedy="check its spelling",
            )
        sources = engine.sources
        vectors = sources.space.vectors
        scores = vectors.scores(vectors[row])
        bought = sources.item_knn.neighbours.add_up(
            np.array([row], np.int32), np.ones(1, np.float32)
        ).dense(vectors)
        bought[row] = 0.0
        scores = 0.5 * scores + 0.5 * bought / max(float(bought.max()), 1e-9)
        return _best(engine, scores, n, without=np.array([row]))


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
        n: Items at most.
    """
    with engine.lock:
        vectors = engine.sources.space.vectors
        profile = query
        if user_id is not None and len(events := engine.history(user_id)):
            context = engine.sources.context(events, events)
            profile = query + PROFILE_WEIGHT * engine.sources.space.text_profile(context.text)
        scores = vectors.scores(profile.astype(np.float32))
        best = top_k(np.where(engine.items.shown, scores, -np.inf), max(20 * n, 200))
        scores = scores[best] + WORDS_WEIGHT * _overlap(engine, words, best)
        order = np.argsort(-scores, kind="stable")[:n]
        return best[order], scores[order]


def _overlap(
    engine: RecommendationEngine, words: str, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Share of the query's words that each item's text holds, `(len(rows),)`."""
    wanted = set(words.lower().split())
    share = np.zeros(len(rows), dtype=np.float32)
    for place, row in enumerate(rows.tolist()):
        text = set(engine.items.item_at(row).encoded_text.lower().replace(",", " ").split())
        share[place] = len(wanted & text) / max(len(wanted), 1)
    return share


def popular(engine: RecommendationEngine, n: int, category: str | None) -> RankedRows:
    """Finds the items with most users."""
    with engine.lock:
        scores = engine.sources.popularity.users.astype(np.float32)
        return _best(engine, scores, n, category=category)


def latest(engine: RecommendationEngine, n: int, category: str | None) -> RankedRows:
    """Finds the items that came last into the catalogue; the score is the order of arrival."""
    with engine.lock:
        scores = np.arange(len(engine.items), dtype=np.float32)
        return _best(engine, scores, n, category=category)


def _best(
    engine: RecommendationEngine,
    scores: npt.NDArray[np.float32],
    n: int,
    *,
    without: npt.NDArray[np.int64] | None = None,
    category: str | None = None,
) -> RankedRows:
    allowed = engine.items.shown.copy()
    if without is not None:
        allowed[without] = False
    if category is not None:
        allowed &= engine.items.in_category(category)
    best = top_k(np.where(allowed, scores, -np.inf).astype(np.float32), n)
    return best, scores[best]
