"""The placebo: signals from outside that hold nothing but what the shop already has.

Adding any further signal opens the fit of the weights anew, and each variant is one more chance to
be lucky on the validation window. What a federation seems to earn is worth something only as far as
it is above what as many signals earn that were made of the shop's own events and public texts.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from client.fusion.hyperparameters import Grid
from client.recommenders.config import PRIOR_STRENGTHS
from client.recommenders.local import local_recommenders
from client.recommenders.profile import ProfileRecommender, Project
from client.recommenders.queries import Floats, History
from shared.releases.noisy_statistics import log_prior

PLACEBO_GLOBAL, PLACEBO_PAIRS = "global-placebo", "pairs-placebo"
"""Signals that stand in for the profile model and for other shops' pairs; the first part is the
kind, by which public weights are looked up."""


class OwnPopularityProfile(ProfileRecommender):
    """The profile model before any training, with the shop's own popularity as prior."""

    def fit(self, history: History) -> Self:
        """Counts the shop's users of each candidate."""
        users = np.zeros(len(self.item_vectors), dtype=np.float32)
        users[history.candidates] = history.users_per_item
        self.prior = log_prior(users)
        return self


def placebo_grids(
    item_vectors: Floats,
    time_unit: str,
    *,
    untrained: Project | None,
    half_life: float,
    prior: bool,
    pairs: bool,
) -> dict[str, Grid]:
    """Returns the grids of the placebo's signals, as many as a federation's models have.

    Args:
        item_vectors: Text vectors of the catalogue, `(n_items, d)`.
        time_unit: "days" or "order".
        untrained: Projection of the profile model before training; None for none.
        half_life: Of an event in the history vector, in the unit of `Events.time`.
        prior: Whether the models have a popularity beside the similarities.
        pairs: Whether pairs were released.
    """
    variants = [
        OwnPopularityProfile(item_vectors, untrained, half_life=half_life, prior_weight=strength)
        for strength in (PRIOR_STRENGTHS if prior else (0.0,))
    ]
    grids = {PLACEBO_GLOBAL: Grid(variants, {})}
    if pairs:
        grids[PLACEBO_PAIRS] = Grid([local_recommenders(item_vectors, time_unit)["ease"]], {})
    return grids
