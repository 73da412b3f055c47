"""The two moments at which a shop is asked: validation, to choose; test, to report."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from client.recommenders.history import History
from client.surfaces import (
    COLD_EVENTS,
    SURFACES,
    Bools,
    Queries,
    build_queries,
    candidates_of,
)
from shared.interactions.events import Events, Shop
from shared.interactions.splits import Windows, split_shop


@dataclass(frozen=True, eq=False)
class Stage:
    """What a shop knows at a moment, and what its users do next.

    Attributes:
        history: All users of the shop, all events before the window.
        window: The events in the window.
        stream: Numbers that seed what is random in the questions.
        cold: Candidates with hardly an event in any shop, `(c,)`; None where nobody counted.
        few: What the shop learns from where that is less than `history`: a shop that has just
            opened is asked by users whom it knew nothing of before.
    """

    history: History
    window: Events
    stream: tuple[int, ...]
    cold: Bools | None = None
    few: History | None = None

    @property
    def learned(self) -> History:
        """What recommenders may learn from."""
        return self.history if self.few is None else self.few

    def ask(self) -> tuple[dict[str, Queries], dict[str, str]]:
        """Builds the queries by surface, and says why the other surfaces are missing."""
        queries, absent = {}, {}
        for surface in SURFACES:
            rng = np.random.default_rng(self.stream)
            built = build_queries(
                surface, known=self.history, window=self.window, rng=rng, cold=self.cold
            )
            if isinstance(built, str):
                absent[surface] = built
            else:
                queries[surface] = built
        return queries, absent


def stages(
    shop: Shop, windows: Windows, scored: npt.NDArray[np.bool_], *, seed: int
) -> tuple[Stage, Stage]:
    """Builds a shop's validation and test stage.

    Candidates are the shop's own catalogue up to the cut where the split is by time, and the whole
    catalogue with leave-last-out, as is usual there: any user's last item can then be found.

    Args:
        shop: The shop.
        windows: Where the windows begin.
        scored: Catalogue items that may be candidates, `(n_items,)`.
        seed: Splits the carts; each shop and stage has its own stream.

    Returns:
        Validation (known: fit) and test (known: fit and validation).
    """
    split = split_shop(shop, windows)
    stream = int.from_bytes(hashlib.sha256(shop.shop_id.encode()).digest()[:8], "big")
    parts = (
        (split.fit, split.validation, windows.validation_start),
        (split.known, split.test, windows.test_start),
    )
    built = []
    for i, (known, window, start) in enumerate(parts):
        now = _moments(shop, known, window) if start is None else np.full(shop.n_users, start)
        own = windows.kind == "time"
        candidates = candidates_of(known, scored) if own else np.flatnonzero(scored)
        history = History(known, candidates.astype(np.int32), now)
        built.append(Stage(history, window, (seed, i, stream)))
    return built[0], built[1]


def with_cold_items(moments: Sequence[Stage], n_items: int) -> list[Stage]:
    """Tells all shops' stages before the same window which items are cold in all of them.

    Args:
        moments: One of each shop.
        n_items: Items of the catalogue.
    """
    events = sum(np.bincount(m.history.events.item, minlength=n_items) for m in moments)
    cold = np.asarray(events) < COLD_EVENTS
    return [replace(moment, cold=cold[moment.history.candidates]) for moment in moments]


def _moments(shop: Shop, known: Events, window: Events) -> npt.NDArray[np.float64]:
    """Returns each user's own moment: the event that was left out, else the last known one."""
    now = np.zeros(shop.n_users)
    now[known.user] = known.time
    now[window.user] = window.time
    return now
