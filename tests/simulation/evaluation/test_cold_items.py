"""On cold items a model that has seen the answers of the validation window is not asked."""

from __future__ import annotations

import numpy as np
import pytest

from client.fusion.scores import standardise
from client.recommenders.local import LOCAL_SIGNALS
from client.recommenders.queries import History, Queries
from shared.interactions.events import Events
from simulation.evaluation.shop import GlobalModel, _weights
from simulation.evaluation.validation_pools import SurfacePools

N_QUERIES, N_CANDIDATES = 60, 40


@pytest.mark.parametrize(
    ("surface", "saw_answers", "enters"),
    [("cold", True, False), ("cold", False, True), ("discover", True, True)],
)
def test_what_saw_the_answers_enters_where_an_event_more_is_not_the_answer(
    surface: str, saw_answers: bool, enters: bool
) -> None:
    rng = np.random.default_rng(0)
    nothing = Events.build(user=[], item=[], time=[])
    history = History(nothing, np.arange(N_CANDIDATES, dtype=np.int32), np.zeros(N_QUERIES))
    targets = np.zeros((N_QUERIES, N_CANDIDATES), dtype=bool)
    targets[:, 3] = True
    queries = Queries(surface, np.arange(N_QUERIES), history, history, None, targets)

    def scores(strength: float) -> np.ndarray:
        drawn = rng.normal(size=targets.shape) + strength * targets
        return standardise(drawn.astype(np.float32), None)

    signals = {**{name: scores(0.5) for name in LOCAL_SIGNALS["days"]}, "global": scores(9.0)}
    signals["global-placebo"] = scores(0.5)
    pools = SurfacePools()
    pools.add(signals, queries)
    model = GlobalModel(lambda history: history, saw_answers=saw_answers)
    found = _weights(surface, tuple(signals), pools, {"": model}, has_users=True, sparse=False)
    assert (found["fused"].get("global", 0.0) > 0) is enters
    if not enters:
        assert found["fused"] == found["best-local"]
