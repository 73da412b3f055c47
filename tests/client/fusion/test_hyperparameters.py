"""Hyper-parameters: the default stays unless the shop's own users clearly say otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import pytest

from client.fusion.hyperparameters import (
    local_grids,
    parameters,
    score_surfaces,
    tune,
)
from client.fusion.pools import by_users
from client.recommenders.config import CONFIGS
from client.recommenders.ease import EASE
from client.recommenders.frequency import OwnFrequency
from client.recommenders.interface import Recommender, Scores
from client.recommenders.local import LOCAL_SIGNALS
from client.recommenders.popularity import Popularity
from client.recommenders.queries import SURFACES, History, Queries, build_queries
from tests.client.recommenders.small_shops import history_before, item_vectors, shop_events


def questions(seed: int = 0) -> tuple[History, dict[str, Queries]]:
    events = shop_events(seed)
    known = history_before(events, 72.0)
    window = events.select(events.time >= 72.0)
    built = {
        surface: build_queries(surface, known=known, window=window, seed=0) for surface in SURFACES
    }
    return known, {name: queries for name, queries in built.items() if isinstance(queries, Queries)}


class Oracle:
    """Scores the targets above the rest for a share of the users, but for the first few."""

    def __init__(self, share: float, *, but: int = 0) -> None:
        self.share = share
        self._but = but

    def fit(self, history: History) -> Self:
        del history
        return self

    def score(self, queries: Queries) -> Scores:
        place = np.arange(len(queries))
        right = (place >= self._but) & (place < self.share * len(queries))
        return (queries.targets * right[:, None]).astype(np.float32)


def chosen(
    variants: Sequence[Recommender], known: History, queries: dict[str, Queries]
) -> dict[str, Recommender]:
    return tune({"x": variants}, known, [queries])["x"]


def test_a_clear_gain_wins_and_a_slight_one_does_not() -> None:
    known, queries = questions()
    clear = chosen([Oracle(0.2), Oracle(0.9), Oracle(0.5)], known, queries)
    assert parameters(clear["for-you"]) == {"share": 0.9}
    two_users = 0.5 + 2.0 / len(queries["basket"])  # of whom one is lost again
    slight = chosen([Oracle(0.5), Oracle(two_users, but=1)], known, queries)
    assert parameters(slight["basket"]) == {"share": 0.5}


def test_of_equal_variants_the_first_stays() -> None:
    known, queries = questions()
    variants = [Oracle(0.5), Oracle(0.5), Oracle(0.1)]
    of = chosen(variants, known, queries)
    assert of["basket"] is of["for-you"] is variants[0]


def test_surfaces_that_share_histories_share_scores() -> None:
    known, queries = questions(3)
    assert queries["tail"].users.tolist() == [1, 25, 28, 31]  # of the forty that all are asked of
    ease = EASE(l2=20.0, form="visits", half_life=120.0).fit(known)
    asked_of = []

    class Counted:
        def fit(self, history: History) -> Self:
            raise AssertionError(f"{history.shape} is fitted again")

        def score(self, queries: Queries) -> Scores:
            asked_of.append(queries.surface)
            return ease.score(queries)

    shared = score_surfaces(Counted(), queries)
    for surface, asked in queries.items():
        assert shared[surface] == pytest.approx(ease.score(asked), abs=1e-5)
    assert asked_of == ["for-you", "new-user", "basket"]


def test_a_choice_does_not_depend_on_how_many_users_are_asked_at_once() -> None:
    known, queries = questions(2)
    variants = [OwnFrequency(5.0), OwnFrequency(60.0), Popularity()]
    events = shop_events(2)
    window = events.select(events.time >= 72.0)
    parts = []
    for part in by_users(window, 7):
        built = {s: build_queries(s, known=known, window=part, seed=0) for s in SURFACES}
        parts.append({s: q for s, q in built.items() if isinstance(q, Queries)})
    assert len(parts) > 3
    assert tune({"x": variants}, known, parts)["x"] == chosen(variants, known, queries)


@pytest.mark.parametrize("unit", ["days", "order"])
def test_grids_name_their_parameters(unit: str) -> None:
    grids = local_grids(item_vectors(), unit)
    assert tuple(grids) == LOCAL_SIGNALS[unit]
    for variants in grids.values():
        named = [str(parameters(variant)) for variant in variants]
        assert len(set(named)) == len(named)
    assert parameters(OwnFrequency(7.0)) == {"half_life": 7.0}


MAP = {"prior_weight": 1.0, "learning_rate": 0.003, "batch": 256, "seed": 0}
FIGURES: dict[str, dict[str, dict[str, object]]] = {
    "days": {
        "popularity": {},
        "frequency": {"half_life": 120.0},
        "item-knn": {"form": "visits", "half_life": 120.0, "shrink": 20.0},
        "ease": {"form": "visits", "half_life": 120.0, "l2": 200.0},
        "text": {"half_life": 60.0, "prior_weight": 1.0},
        "text-map": {"half_life": 60.0, "epochs": 2, "scale": 3.0, "pairs": 2} | MAP,
    },
    "order": {
        "popularity": {},
        "frequency": {"half_life": 10.0},
        "item-knn": {"form": "strongest", "half_life": 10.0, "shrink": 20.0},
        "ease": {"form": "strongest", "half_life": 10.0, "l2": 20.0},
        "sequence": {"half_life": 2.0},
        "text": {"half_life": 3.0, "prior_weight": 1.0},
        "text-map": {"half_life": 3.0, "epochs": 3, "scale": 10.0, "pairs": 8} | MAP,
    },
}
"""Figures, not the constants of the code: one that slips must fail."""


@pytest.mark.parametrize("unit", FIGURES)
def test_the_constants_are_those_that_were_measured(unit: str) -> None:
    grids = local_grids(item_vectors(), unit)
    assert {name: parameters(variants[0]) for name, variants in grids.items()} == FIGURES[unit]
    assert all(len(variants) == 1 for variants in grids.values())


def test_how_much_other_shops_count_in_ease() -> None:
    weights = {unit: CONFIGS[unit].pairs_weight for unit in ("days", "order")}
    assert weights == {"days": 0.2, "order": 1.0}
