"""What a manager asks of recommendations: what they bring, and which items they leave out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np

from client.serving.analytics.intervals import sum_interval, wilson_interval
from client.serving.analytics.outcomes import CLICKED, SHOWN, Outcomes
from client.serving.state.engine import RecommendationEngine
from client.store.reading import EPOCH

MIN_CLICKS = 30
"""Clicks and showings without one, from which on rates are more than a first impression."""
MIN_SHOWN = 100
"""Showings from which on an item is compared with others."""
_WEEKS, _ITEMS = 12, 10


def outcome_report(outcomes: Outcomes, engine: RecommendationEngine) -> dict[str, Any]:
    """Returns totals, weeks, coverage, and best and worst items; reads counts, never events.

    Args:
        outcomes: A copy that nobody changes.
        engine: Says which items may be shown, and what they are called.
    """
    weeks = sorted(outcomes.weeks)
    shown, clicks, _ = _summed(outcomes, weeks)
    return {
        "since": _monday(weeks[0]) if weeks else None,
        "enough": min(clicks, shown - clicks) >= MIN_CLICKS,
        "min_clicks": MIN_CLICKS,
        "min_shown": MIN_SHOWN,
        "total": _outcome(outcomes, weeks),
        "weeks": [{"week": _monday(w), **_outcome(outcomes, [w])} for w in weeks[-_WEEKS:]],
        "coverage": _coverage(outcomes, engine),
        **_extremes(outcomes, engine),
    }


def _monday(week: int) -> str:
    return (EPOCH + timedelta(days=7 * week - 3)).date().isoformat()


def _summed(outcomes: Outcomes, weeks: list[int]) -> list[int]:
    return [sum(outcomes.weeks[week][place] for week in weeks) for place in range(3)]


def _outcome(outcomes: Outcomes, weeks: list[int]) -> dict[str, Any]:
    shown, clicks, purchases = _summed(outcomes, weeks)
    sums: dict[str, list[float]] = {}
    for (week, currency), more in outcomes.revenue.items():
        if week in weeks:
            before = sums.get(currency, [0.0, 0.0, 0])
            sums[currency] = [a + b for a, b in zip(before, more, strict=True)]
    return {
        **_rates([shown, clicks, purchases]),
        "revenue": [
            {
                "currency": currency,
                "purchases": int(count),
                **sum_interval(total, squares, purchases=int(count), trials=shown),
            }
            for currency, (total, squares, count) in sorted(sums.items())
        ],
    }


def _rates(counts: list[int]) -> dict[str, Any]:
    shown, clicks, purchases = counts
    return {
        "impressions": shown,
        "clicks": clicks,
        "purchases": purchases,
        "click_rate": wilson_interval(clicks, shown),
        "purchase_rate": wilson_interval(purchases, shown),
    }


def _coverage(outcomes: Outcomes, engine: RecommendationEngine) -> dict[str, Any]:
    """Says how many of the items that may be shown were; those that were not, best sold first."""
    with engine.lock:
        showable, users = engine.items.shown.copy(), engine.sources.popularity.users
        seen = engine.items.rows_of(outcomes.items)
    unseen = showable.copy()
    unseen[seen] = False
    takers = np.zeros(len(showable))
    takers[: len(users)] = users[: len(showable)]
    rows = np.flatnonzero(unseen)
    first = rows[np.argsort(-takers[rows], kind="stable")[:_ITEMS]].tolist()
    return {
        "showable": int(showable.sum()),
        "shown": int(showable.sum() - unseen.sum()),
        "never_shown": len(rows),
        "never": [
            {**name, "users": int(takers[row])} for row, name in _named(engine, first).items()
        ],
    }


def _extremes(outcomes: Outcomes, engine: RecommendationEngine) -> dict[str, Any]:
    """Compares items by the share of showings that were clicked."""
    rows = engine.items.rows
    compared = [
        (row, counts)
        for item_id, counts in outcomes.items.items()
        if counts[SHOWN] >= MIN_SHOWN and (row := rows.get(item_id)) is not None
    ]
    # Of those with the same rate the one that was shown more often tells more.
    compared.sort(key=lambda one: (one[1][CLICKED] / one[1][SHOWN], one[1][SHOWN]))
    half = min(_ITEMS, len(compared) // 2)  # no item is both among the best and among the worst

    def described(entries: list[tuple[int, list[int]]]) -> list[dict[str, Any]]:
        names = _named(engine, [row for row, _ in entries])
        return [{**names[row], **_rates(counts)} for row, counts in entries if row in names]

    return {
        "compared": len(compared),
        "best": described(compared[::-1][:half]),
        "worst": described(compared[:half]),
    }


def _named(engine: RecommendationEngine, rows: list[int]) -> dict[int, dict[str, Any]]:
    """Returns id, title and text by row, without items that were deleted meanwhile."""
    with engine.lock:
        items = {row: engine.items.items[row] for row in rows}
    return {
        row: {"item_id": item.item_id, "title": item.title, "text": item.text[:200]}
        for row, item in items.items()
        if item is not None
    }
