"""The placebo: signals from outside that hold nothing but what the shop already has.

Adding any further signal opens the fit of the weights anew, and each variant is one more chance to
be lucky on the validation window. What a federation seems to earn is worth something only as far as
it is above what as many signals earn that were made of the shop's own events and public texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

import numpy as np

from client.fusion.hyperparameters import Grid, own_pairs_grid
from client.recommenders.profile import ProfileRecommender
from client.recommenders.queries import Floats, History
from shared.releases.noisy_statistics import log_prior

if TYPE_CHECKING:
    from simulation.evaluation.shop import GlobalModel

PRIOR_STRENGTHS = (1.0, 0.5, 0.0)
"""How much of the popularity a profile model's variants have beside the similarities."""
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
    models: Mapping[str, GlobalModel], item_vectors: Floats, time_unit: str
) -> dict[str, Grid]:
    """Returns the grids of the placebo's signals, as many as the models have.

    Args:
        models: Global models by name; all of one family.
        item_vectors: Text vectors of the catalogue, `(n_items, d)`.
        time_unit: "days" or "order".
    """
    if not models:
        return {}
    first = next(iter(models.values()))
    strengths = PRIOR_STRENGTHS if first.prior is not None else (0.0,)
    variants = [
        OwnPopularityProfile(
            item_vectors, first.untrained, half_life=first.half_life, prior_weight=strength
        )
        for strength in strengths
    ]
    grids = {PLACEBO_GLOBAL: Grid(variants, {})}
    if any(model.pairs is not None for model in models.values()):
        grids[PLACEBO_PAIRS] = own_pairs_grid(time_unit)
    return grids
