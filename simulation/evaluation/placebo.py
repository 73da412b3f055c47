"""The placebo: signals from outside that hold nothing but what the shop already has.

Adding any further signal opens the fit of the weights anew, and each variant is one more chance to
be lucky on the validation window. What a federation seems to earn is worth something only as far as
it is above what as many signals earn that were made of the shop's own events and public texts.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from client.fusion.hyperparameters import Grids
from client.recommenders.config import PRIOR_STRENGTHS
from client.recommenders.local import local_recommenders
from client.recommenders.profile import ProfileRecommender, Project
from client.recommenders.queries import Floats, History
from client.recommenders.tables.co_purchase import CoPurchaseVectors
from client.recommenders.tables.pair_gram import PairGram
from shared.releases.noisy_statistics import log_prior
from shared.releases.pair_sums import head_items, pair_sums, user_sizes

PLACEBO_GLOBAL, PLACEBO_PAIRS = "global-placebo", "pairs-placebo"
"""Signals that stand in for the profile model and for other shops' pairs; the first part is the
kind, by which public weights are looked up."""


class OwnProfile(ProfileRecommender):
    """The profile model before any training, with the shop's own popularity and pairs.

    Attributes:
        head: Items whose pairs count; below 2 for a model without pairs.
    """

    def __init__(
        self,
        item_vectors: Floats,
        project: Project | None,
        *,
        head: int,
        half_life: float,
        prior_weight: float,
    ) -> None:
        super().__init__(item_vectors, project, half_life=half_life, prior_weight=prior_weight)
        self.head = head

    def fit(self, history: History) -> Self:
        """Counts the shop's users of each candidate, and of each pair of the most frequent."""
        users = np.zeros(len(self.item_vectors), dtype=np.float32)
        users[history.candidates] = history.users_per_item
        self.prior = log_prior(users)
        self.co_purchase = None
        if self.head >= 2:
            self.co_purchase = history.cached(
                ("own co-purchase", self.head), lambda: _own_vectors(history, users, self.head)
            )
        return self


def _own_vectors(history: History, users: Floats, h: int) -> CoPurchaseVectors | None:
    head = head_items(users, h)
    sizes = user_sizes(history.events, head)
    if not (sizes >= 2).any():
        return None
    return CoPurchaseVectors.of(PairGram.of(head, pair_sums(history.events, head), sizes))


def placebo_grids(
    item_vectors: Floats,
    time_unit: str,
    *,
    untrained: Project | None,
    half_life: float,
    prior: bool,
    head: int,
) -> Grids:
    """Returns the grids of the placebo's signals, as many as a federation's models have.

    Args:
        item_vectors: Text vectors of the catalogue, `(n_items, d)`.
        time_unit: "days" or "order".
        untrained: Projection of the profile model before training; None for none.
        half_life: Of an event in the history vector, in the unit of `Events.time`.
        prior: Whether the models have a popularity beside the similarities.
        head: Items of which pairs were released; 0 for none.
    """
    variants = [
        OwnProfile(item_vectors, untrained, head=head, half_life=half_life, prior_weight=strength)
        for strength in (PRIOR_STRENGTHS if prior else (0.0,))
    ]
    grids: Grids = {PLACEBO_GLOBAL: variants}
    if head:
        grids[PLACEBO_PAIRS] = [local_recommenders(item_vectors, time_unit)["ease"]]
    return grids
