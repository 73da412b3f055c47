"""Implicit ALS against naive normal equations."""

from __future__ import annotations

import numpy as np
import pytest

from client.recommenders.queries import History, Queries, build_queries
from simulation.evaluation.pooled_models import ALS
from tests.client.recommenders.small_shops import history_before, shop_events


def setting(surface: str = "for-you") -> tuple[History, Queries]:
    events = shop_events(2)
    known = history_before(events, 72.0)
    window = events.select(events.time >= 72.0)
    queries = build_queries(surface, known=known, window=window, seed=0)
    assert isinstance(queries, Queries)
    return known, queries


def naive_rows(values: np.ndarray, fixed: np.ndarray, alpha: float, l2: float) -> np.ndarray:
    """Solves each row's weighted ridge regression on 0/1 preferences, cell by cell."""
    solved = []
    for row in values:
        confidence = np.diag(1 + alpha * row)
        left = fixed.T @ confidence @ fixed + l2 * np.eye(fixed.shape[1])
        solved.append(np.linalg.solve(left, fixed.T @ confidence @ (row > 0).astype(float)))
    return np.array(solved)


def test_als_equals_naive_alternation() -> None:
    known, queries = setting()
    rng = np.random.default_rng(7)
    values = known.rows("last", 30.0).astype(np.float64)
    items = rng.normal(size=(values.shape[1], 5)) / np.sqrt(5)
    for _ in range(2):
        users = naive_rows(values, items, 4.0, 2.0)
        items = naive_rows(values.T, users, 4.0, 2.0)
    asked = naive_rows(queries.history.rows("last", 30.0).astype(np.float64), items, 4.0, 2.0)
    model = ALS(factors=5, l2=2.0, alpha=4.0, iterations=2, half_life=30.0, seed=7)
    assert model.fit(known).score(queries) == pytest.approx(asked @ items.T, abs=2e-3)


def test_a_user_without_history_gets_zeros() -> None:
    known, queries = setting()
    nobody = History(known.events.select(slice(0, 0)), known.candidates, known.now[:1])
    empty = Queries("for-you", np.array([0]), nobody, nobody, None, queries.targets[:1])
    assert (ALS(factors=8, half_life=120.0).fit(known).score(empty) == 0).all()


def test_blocks_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    known, queries = setting()
    whole = ALS(factors=8, half_life=120.0).fit(known).score(queries)
    monkeypatch.setattr("simulation.evaluation.pooled_models._USER_BLOCK", 7)
    assert ALS(factors=8, half_life=120.0).fit(known).score(queries) == pytest.approx(
        whole, abs=1e-3
    )
