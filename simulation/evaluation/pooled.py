"""The upper bound that no shop may have: models of all shops' users together, not private."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from client.recommenders.config import CONFIGS
from client.recommenders.interface import Scores
from client.recommenders.queries import Codes, Floats, History, Queries
from client.recommenders.text_map import TextMap
from shared.interactions.events import Events
from simulation.evaluation.pooled_models import ALS, EASE

TWINS = ("pooled-ease", "pooled-als", "pooled-text-map")
"""Signals of the upper bound: local recommenders fitted on the users of all shops."""


@dataclass(frozen=True, eq=False)
class Pooled:
    """A recommender that was fitted on all shops' users before one window.

    Attributes:
        candidates: Catalogue codes that it scores, ascending, `(c,)`.
        model: Fitted on the users of all shops.
    """

    candidates: Codes
    model: EASE | ALS | TextMap

    def fit(self, history: History) -> Pooled:
        """Returns the same model for one shop's candidates; its history changes nothing."""
        if isinstance(self.model, TextMap):  # it scores any item of the catalogue
            return Pooled(history.candidates, self.model)
        columns = np.searchsorted(self.candidates, history.candidates)
        return Pooled(history.candidates, self.model.restrict(columns))

    def score(self, queries: Queries) -> Scores:
        """Scores one shop's candidates, `(q, c)`; needs `fit` on that shop first."""
        return self.model.score(queries)


def fit_pooled(
    histories: Sequence[History], item_vectors: Floats, time_unit: str
) -> dict[str, Pooled]:
    """Fits the pooled twins on all shops' histories before the same window.

    Args:
        histories: One of each shop.
        item_vectors: Text vectors of the catalogue, `(n_items, d)`.
        time_unit: "days" or "order": rows and half-lives are those of the shops' own recommenders,
            penalties and sizes those of many times their users.

    Returns:
        A model for each of `TWINS`.
    """
    together = pool(histories)
    config, dated = CONFIGS[time_unit], time_unit == "days"
    form, half_life = config.row_form, config.visit_half_life
    ease = EASE(l2=300.0 if dated else 50.0, form=form, half_life=half_life)
    als = ALS(
        factors=32 if dated else 64,
        l2=10.0,
        alpha=10.0,
        iterations=5 if dated else 8,
        form=form,
        half_life=half_life,
    )
    text_map = TextMap.of_unit(item_vectors, time_unit)
    if dated:
        text_map.pairs = 1
    candidates = together.candidates
    return {
        "pooled-ease": Pooled(candidates, ease.fit(together)),
        "pooled-als": Pooled(candidates, als.fit(together)),
        "pooled-text-map": Pooled(candidates, text_map.fit(together)),
    }


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
