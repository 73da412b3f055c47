"""Counts anew what single events cannot update, co-purchase above all, while answers go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from client.recommenders.ease import FederatedEASE
from client.recommenders.interface import ServedRecommender
from client.recommenders.local import behaviour_recommenders
from client.serving.features.federated_statistics import (
    FederatedStatistics,
    fit_pairs,
)
from client.serving.features.interactions import Interactions, UserEvents
from client.serving.ranking.signals import popularity_of
from client.serving.state.engine import RecommendationEngine
from client.serving.state.replication import Change, Refreshed


@dataclass(frozen=True, eq=False)
class _RefreshStart:
    """What a refresh starts from, so that it needs no lock while it counts."""

    interactions: Interactions
    changed: dict[int, UserEvents]
    n_users: int
    alive: npt.NDArray[np.bool_]
    key: int
    generation: int
    recount: bool
    time_unit: str
    federated: FederatedStatistics
    new_pairs: Mapping[str, int] | None
    """Row of each item by id where there are items whose pairs are not placed yet."""


@dataclass(frozen=True, eq=False)
class _RefreshResult:
    interactions: Interactions
    local: dict[str, ServedRecommender]
    federated: FederatedStatistics
    federated_ease: FederatedEASE | None


def refresh_engine(engine: RecommendationEngine) -> bool:
    """Counts co-purchase, and all else where events were deleted; False where nothing happened.

    Meant for a thread of its own. Events that come while it counts are left to the next refresh.
    """
    # Only the first and the last step hold the lock: EASE takes seconds in a large catalogue.
    start = _read_start(engine)
    if start is None:
        return False
    _install(engine, start, _recount(start))
    return True


def _read_start(engine: RecommendationEngine) -> _RefreshStart | None:
    with engine.lock:
        rows, federated = engine.items.rows, engine.sources.federated
        new_pairs = dict(rows) if federated.lacks_pairs(rows) else None
        if not engine.events_since_refresh and new_pairs is None:
            return None
        recount, engine.events_since_refresh, engine.recount = engine.recount, 0, False
        return _RefreshStart(
            interactions=engine.interactions,
            changed=engine.interactions.changed(),
            n_users=engine.n_rows,
            alive=np.array([item is not None for item in engine.items.items]),
            key=engine.last_key,
            generation=engine.generation,
            recount=recount,
            time_unit=engine.sources.time_unit,
            federated=federated,
            new_pairs=new_pairs,
        )


def _recount(start: _RefreshStart) -> _RefreshResult:
    interactions = start.interactions.merged(
        start.changed, n_users=start.n_users, alive=start.alive
    )
    history = interactions.history(len(start.alive))
    local = behaviour_recommenders(start.time_unit)
    if not start.recount:  # single events are counted already
        del local["popularity"]
    fitted = {name: recommender.fit(history) for name, recommender in local.items()}
    federated = start.federated
    if start.new_pairs is not None:
        federated = federated.with_pairs(start.new_pairs, interactions)
    pairs = fit_pairs(history, federated, time_unit=start.time_unit)
    return _RefreshResult(interactions, fitted, federated, pairs)


def _install(engine: RecommendationEngine, start: _RefreshStart, refreshed: _RefreshResult) -> None:
    with engine.lock:
        # Users with events after the start keep them beside the sorted columns.
        refreshed.interactions.adopt(engine.interactions.changed(), start.changed)
        engine.interactions = refreshed.interactions
        engine.sorted_key, engine.sorted_generation = start.key, start.generation
        fitted = refreshed.local
        if "popularity" in fitted and engine.events_since_refresh:
            engine.recount = True  # these counts miss the latest events
            del fitted["popularity"]
        elif "popularity" in fitted:
            popularity_of(fitted).grow(len(engine.items))
        engine.sources = replace(engine.sources, local={**engine.sources.local, **fitted})
        federated = engine.sources.federated
        if federated.released is start.federated.released:  # else a new release came
            placed = refreshed.federated
            federated = replace(federated, gram=placed.gram, co_purchase=placed.co_purchase)
            engine.sources = replace(
                engine.sources, federated=federated, federated_ease=refreshed.federated_ease
            )
        if engine.journal is not None:
            change = Change.of("take_refresh", (Refreshed.of(engine),), {})
            engine.journal.note(change)
