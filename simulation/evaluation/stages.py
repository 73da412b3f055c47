"""The two moments at which a shop is asked: validation, to choose; test, to report."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from client.recommenders.history import History
from client.surfaces import SURFACES, Queries, build_queries, candidates_of
from shared.interactions.events import Events, Shop
from shared.interactions.splits import Windows, split_shop


@dataclass(frozen=True, eq=False)
class Stage:
    """What a shop knows at a moment and what it is asked.

    Attributes:
        history: All users of the shop, all events before the window.
        queries: By surface.
        absent: Why the other surfaces are missing.
    """

    history: History
    queries: dict[str, Queries]
    absent: dict[str, str]


def join(first: Events, second: Events) -> Events:
    """Joins two disjoint parts of one shop's events, sorted again."""
    columns = {
        f.name: np.concatenate([getattr(first, f.name), getattr(second, f.name)])
        for f in fields(Events)
    }
    return Events.build(**columns)


def stages(
    shop: Shop, windows: Windows, scored: npt.NDArray[np.bool_], *, seed: int
) -> tuple[Stage, Stage]:
    """Builds a shop's validation and test stage.

    Args:
        shop: The shop.
        windows: Where the windows begin.
        scored: Catalogue items that may be candidates, `(n_items,)`.
        seed: Splits the carts; each shop and stage has its own stream.

    Returns:
        Validation (known: fit) and test (known: fit and validation).
    """
    split = split_shop(shop, windows)
    known = join(split.fit, split.validation)
    return (
        _stage(shop, split.fit, split.validation, windows.validation_start, scored, (seed, 0)),
        _stage(shop, known, split.test, windows.test_start, scored, (seed, 1)),
    )


def _stage(
    shop: Shop,
    known: Events,
    window: Events,
    start: float | None,
    scored: npt.NDArray[np.bool_],
    seed: tuple[int, int],
) -> Stage:
    now = np.full(shop.n_users, start) if start is not None else _moments(shop, known, window)
    history = History(known, candidates_of(known, scored), now)
    stream = int.from_bytes(hashlib.sha256(shop.shop_id.encode()).digest()[:8], "big")
    queries, absent = {}, {}
    for surface in SURFACES:
        rng = np.random.default_rng([*seed, stream])
        built = build_queries(surface, known=history, window=window, rng=rng)
        if isinstance(built, str):
            absent[surface] = built
        else:
            queries[surface] = built
    return Stage(history, queries, absent)


def _moments(shop: Shop, known: Events, window: Events) -> npt.NDArray[np.float64]:
    """Returns each user's own moment: the event that was left out, else the last known one."""
    now = np.zeros(shop.n_users)
    now[known.user] = known.time
    now[window.user] = window.time
    return now
