"""Pools of any signals from blocks of users, against the pool of all users at once."""

from __future__ import annotations

import numpy as np
import pytest

from client.fusion.scores import Pool, best_of, standardise
from client.recommenders.queries import History, Queries
from shared.interactions.events import Events
from simulation.evaluation.validation_pools import SurfacePools

NAMES = ("ease", "text", "global")


def asked(q: int, c: int, *, masked: bool) -> tuple[dict[str, np.ndarray], Queries]:
    rng = np.random.default_rng(3)
    history = History(
        Events.build(user=[], item=[], time=[]), np.arange(c, dtype=np.int32), np.zeros(q)
    )
    allowed = rng.random((q, c)) < 0.8 if masked else None
    targets = rng.random((q, c)) < 2.0 / c
    targets[:, 0] |= ~targets.any(axis=1)
    if allowed is not None:
        targets &= allowed
        targets[np.arange(q), allowed.argmax(axis=1)] = True
    drawn = {name: rng.normal(size=(q, c)).astype(np.float32) for name in NAMES}
    signals = {name: standardise(scores, allowed) for name, scores in drawn.items()}
    return signals, Queries("discover", np.arange(q), history, history, allowed, targets)


@pytest.mark.parametrize("masked", [False, True])
def test_pools_of_blocks_measure_what_the_whole_pool_does(masked: bool) -> None:
    signals, queries = asked(40, 300, masked=masked)
    pools = SurfacePools()
    for part in (slice(0, 9), slice(9, 10), slice(10, 40)):
        allowed = None if queries.allowed is None else queries.allowed[part]
        block = Queries(
            "discover",
            queries.users[part],
            queries.history,
            queries.own,
            allowed,
            queries.targets[part],
        )
        pools.add({name: scores[part] for name, scores in signals.items()}, block)
    assert len(pools) == 40
    best = {name: best_of(scores, queries) for name, scores in signals.items()}
    for names in (("ease", "text"), NAMES):
        whole = Pool.of({name: signals[name] for name in names}, best, queries)
        mix = {name: 1.0 + i for i, name in enumerate(names)}
        np.testing.assert_array_equal(pools.pool(names).ndcg(mix), whole.ndcg(mix))
        assert whole.ndcg(mix).any()
        rows = pools.pool(names).rows
        assert rows is not None
        assert len(rows) < 40
