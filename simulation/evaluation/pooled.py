"""The upper bound that no shop may have: item models of all shops' users together, not private."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from client.recommenders.ease import EASE
from client.recommenders.history import History
from client.recommenders.interface import Scores
from client.surfaces import Codes, Queries
from shared.interactions.events import Events


@dataclass(frozen=True, eq=False)
class Pooled:
    """EASE on the histories of all shops' users before one window.

    Attributes:
        candidates: Catalogue codes that any shop may recommend, ascending, `(c,)`.
        ease: Fitted on the users of all shops.
    """

    candidates: Codes
    ease: EASE

    @staticmethod
    def of(histories: Sequence[History], time_unit: str) -> Pooled:
        """Fits on all shops' histories before the same window; `time_unit` sets half-lives."""
        together = pool(histories)
        ease = (
            EASE(l2=300.0, form="visits", half_life=120.0)
            if time_unit == "days"
            else EASE(l2=50.0, form="last", half_life=10.0)
        )
        return Pooled(together.candidates, ease.fit(together))

    def fit(self, history: History) -> Pooled:
        """Returns the same model for one shop's candidates; its history changes nothing."""
        columns = np.searchsorted(self.candidates, history.candidates)
        return Pooled(history.candidates, self.ease.restrict(columns))

    def score(self, queries: Queries) -> Scores:
        """Scores one shop's candidates, `(q, c)`; needs `fit` on that shop first."""
        return self.ease.score(queries)


def pool(histories: Sequence[History]) -> History:
    """Puts the users of several shops into one history; no user is merged with another."""
    starts = np.cumsum([0, *(len(history.now) for history in histories)])
    moved = [
        replace(history.events, user=history.events.user + np.int32(start))
        for history, start in zip(histories, starts, strict=False)
    ]
    columns = {
        f.name: np.concatenate([getattr(events, f.name) for events in moved])
        for f in fields(Events)
    }
    candidates = np.unique(np.concatenate([history.candidates for history in histories]))
    now = np.concatenate([history.now for history in histories])
    return History(Events(**columns), candidates, now)
