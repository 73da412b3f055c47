"""Counts co-purchase anew while answers go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from client.serving.counts import Counts
from client.serving.histories import Histories, UserEvents
from client.serving.neighbours import Neighbours
from client.serving.outside import Outside, Pairs
from client.serving.weights import co_purchase, co_purchase_of_all

if TYPE_CHECKING:
    from client.serving.engine import Engine


@dataclass(frozen=True, eq=False)
class _Begun:
    """What a refresh starts from; answers and events go on meanwhile."""

    histories: Histories
    changed: dict[int, UserEvents]
    n_users: int
    alive: npt.NDArray[np.bool_]
    key: int
    generation: int
    recount: bool
    now: float
    unit: str
    outside: Outside
    new_pairs: Mapping[str, int] | None
    """Row of each item by id where there are items whose pairs are not placed yet."""


@dataclass(frozen=True, eq=False)
class _Counted:
    histories: Histories
    near: Neighbours
    ease: Neighbours
    outside: Outside
    pairs: Pairs
    counts: Counts | None


def refresh(engine: Engine) -> bool:
    """Counts co-purchase, and all else where events were deleted; False where nothing happened.

    Meant for a thread of its own; what happens meanwhile stays for the next time.
    """
    begun = _begin(engine)
    if begun is None:
        return False
    _take(engine, begun, _count(begun))
    return True


def _begin(engine: Engine) -> _Begun | None:
    with engine.lock:
        rows, outside = engine.items.rows, engine.sources.outside
        new_pairs = dict(rows) if outside.lacks_pairs(rows) else None
        if not engine.events_since and new_pairs is None:
            return None
        recount, engine.events_since, engine.recount = engine.recount, 0, False
        return _Begun(
            histories=engine.histories,
            changed=engine.histories.changed(),
            n_users=engine.n_rows,
            alive=np.array([item is not None for item in engine.items.items]),
            key=engine.last_key,
            generation=engine.generation,
            recount=recount,
            now=engine.sources.counts.now,
            unit=engine.sources.unit,
            outside=outside,
            new_pairs=new_pairs,
        )


def _count(begun: _Begun) -> _Counted:
    histories = begun.histories.merged(begun.changed, n_users=begun.n_users, alive=begun.alive)
    now, dated, n_items = begun.now, begun.unit == "days", len(begun.alive)
    if begun.recount and dated:  # the latest event may be one that was deleted
        now = float(histories.columns.time.max(initial=0.0))
    near, solved = co_purchase(histories, n_items=n_items, now=now, unit=begun.unit)
    outside = begun.outside
    if begun.new_pairs is not None:
        outside = outside.with_pairs(begun.new_pairs, histories)
    pairs = co_purchase_of_all(histories, outside, n_items=n_items, now=now, unit=begun.unit)
    counts = None
    if begun.recount:
        counts = Counts.of(histories, n_items=n_items, now=now, dated=dated)
    return _Counted(histories, near, solved, outside, pairs, counts)


def _take(engine: Engine, begun: _Begun, found: _Counted) -> None:
    with engine.lock:
        found.histories.adopt(engine.histories.changed(), begun.changed)
        engine.histories = found.histories
        engine.sorted_key, engine.sorted_generation = begun.key, begun.generation
        engine.sources = replace(engine.sources, near=found.near, ease=found.ease)
        outside = engine.sources.outside
        if outside.released is begun.outside.released:  # else a new release came meanwhile
            outside = replace(outside, gram=found.outside.gram)
            engine.sources = replace(engine.sources, outside=outside, pairs=found.pairs)
        if found.counts is not None and engine.events_since:
            engine.recount = True  # these counts miss what came meanwhile
        elif found.counts is not None:
            found.counts.grow(len(engine.items))
            engine.sources = replace(engine.sources, counts=found.counts)
