"""One call that recommends, ours beside `implicit`'s, in one process and with one thread."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from client.recommenders.tables.item_vectors import ItemVectors, ProfileSpace
from client.serving.ranking.ranker import RecommendationRequest
from client.serving.state.engine import RecommendationEngine
from client.serving.state.loader import load_state
from client.serving.state.snapshot import Snapshot
from client.store.store import Store
from simulation.reporting.benchmark_page import BenchmarkFigure

DIM = 256
_CALLS = 1000
_N = 10


def call_figures(folder: Path, rng: np.random.Generator) -> list[BenchmarkFigure]:
    """Measures `RecommendationEngine.recommend` and `AlternatingLeastSquares.recommend` by turns.

    Both have factors of the same size, random ones: what they recommend does not change the work.
    Ours adds up all signals of the fusion, `implicit` takes one product. Without `implicit`
    (`pip install implicit`) nothing is measured.

    Args:
        folder: Holds `shop.db`.
        rng: Draws factors and users.
    """
    if find_spec("implicit") is None:
        return []
    engine = _engine(folder, rng)
    theirs = _implicit(engine, rng)
    known = np.array(list(engine.users))
    rows = {user: engine.users[user] for user in known}
    liked = sp.csr_matrix(np.zeros((1, len(engine.items)), dtype=np.float32))
    ours_ms, theirs_ms = [], []
    request = RecommendationRequest("for-you")
    with threadpool_limits(limits=1):
        for user in rng.choice(known, _CALLS):
            ours_ms.append(_timed(lambda user=user: engine.recommend(request, user)))  # type: ignore[misc]
            row = rows[user]
            theirs_ms.append(_timed(lambda row=row: theirs(row, liked)))  # type: ignore[misc]
    ours, other = float(np.median(ours_ms)), float(np.median(theirs_ms))
    note = (
        f"{ours:.3f} ms, all signals, against {other:.3f} ms of one product; medians of {_CALLS} "
        f"calls by turns, {len(engine.items):,} items x {DIM}, one thread; known, not bounded"
    )
    return [
        BenchmarkFigure(
            "Recommend call against `implicit`'s", ours / other, math.inf, "times", note
        )
    ]


def _timed(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - begun)


def _engine(folder: Path, rng: np.random.Generator) -> RecommendationEngine:
    store = Store(f"sqlite:///{folder / 'shop.db'}")
    snapshot = Snapshot.beside(store.url, mark=store.content_mark, writes=False)
    loaded = load_state(store, snapshot)
    store.close()
    vectors = rng.normal(size=(len(loaded.items), DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    projection = np.eye(DIM, DIM + 1, dtype=np.float32)
    space = ProfileSpace(ItemVectors.of(vectors), projection, half_life=120.0, text_half_life=60.0)
    return loaded.engine(space, time_unit="days")


def _implicit(engine: RecommendationEngine, rng: np.random.Generator) -> Callable[[int, Any], Any]:
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(factors=DIM, num_threads=1)
    model.user_factors = rng.normal(size=(engine.n_rows, DIM)).astype(np.float32)
    model.item_factors = engine.sources.space.vectors[:]

    def recommend(row: int, liked: Any) -> Any:
        return model.recommend(row, liked, N=_N, filter_already_liked_items=False)

    return recommend
