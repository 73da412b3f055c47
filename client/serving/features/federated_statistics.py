"""Statistics of all shops, popularity and pairs, by row of the shop's own items."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from client.federation.own_contribution import OwnPairSums
from client.recommenders.ease import FederatedEASE
from client.recommenders.local import federated_ease
from client.recommenders.queries import Floats, History
from client.recommenders.tables.co_purchase import CoPurchaseVectors
from client.recommenders.tables.item_scores import DenseScores
from client.recommenders.tables.neighbours import Rows
from client.recommenders.tables.pair_gram import PairGram
from client.serving.features.interactions import Interactions
from shared.interactions.events import Events
from shared.releases.noisy_statistics import PairRelease

RECORDED, CURRENT = "as given", "of today"
"""What the shop subtracts from the pairs: the contribution that it stored when it sent it, or else
the sums of its present events, some of which never were in the release."""


@dataclass(frozen=True, eq=False)
class ReleasedStatistics:
    """Statistics of a federation as they were released, by code of its public catalogue.

    Attributes:
        item_ids: By code.
        releases: Number by kind.
        scale: Factor on similarities, on which the prior is measured.
        reliability: Share of signal in what was released, in [0, 1].
        prior: Log popularity, mean 0, `(n_items,)`; None where no counts were released.
        pair_release: Noisy pair sums of all shops together; None where none were released.
        includes_own: Whether this shop's users are among them.
        own_contribution: Their sums, as the shop sent them; None where they were not stored.
    """

    item_ids: Sequence[str]
    releases: Mapping[str, int]
    scale: float
    reliability: float
    prior: Floats | None
    pair_release: PairRelease | None
    includes_own: bool
    own_contribution: OwnPairSums | None = None

    @cached_property
    def code_of(self) -> Mapping[str, int]:
        """Code of each item of the public catalogue by id."""
        return {item_id: code for code, item_id in enumerate(self.item_ids)}

    def digest(self) -> str:
        """SHA-256 of all that fusion weights depend on."""
        state = hashlib.sha256(
            f"{self.scale}\x1f{self.reliability}\x1f{self.includes_own}".encode()
        )
        pair_release = (
            () if self.pair_release is None else (self.pair_release.head, self.pair_release.noisy)
        )
        own = (
            ()
            if self.own_contribution is None
            else (self.own_contribution.sums, self.own_contribution.sizes)
        )
        for array in (self.prior, *pair_release, *own):
            if array is not None:
                state.update(np.ascontiguousarray(array).tobytes())
        return state.hexdigest()


@dataclass(frozen=True, eq=False)
class FederatedStatistics:
    """The statistics on the shop's own items.

    Attributes:
        prior: Log popularity in all shops, 0 (the mean) for items that the federation does not
            know, `(n_items,)`; None for none.
        gram: Pairs of the other shops' users, by row of the item table; None for none.
        co_purchase: Item vectors made of them; None for none.
        scale: As in `ReleasedStatistics`.
        reliability: As in `ReleasedStatistics`; a half where nothing tells.
        releases: As in `ReleasedStatistics`.
        digest: As in `ReleasedStatistics`, "" for nothing.
        released: What all this was computed from; None for nothing.
    """

    prior: DenseScores | None = None
    gram: PairGram | None = None
    co_purchase: CoPurchaseVectors | None = None
    scale: float = 1.0
    reliability: float = 0.5
    releases: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""
    released: ReleasedStatistics | None = None

    @staticmethod
    def of(
        released: ReleasedStatistics | None,
        row_of: Mapping[str, int],
        interactions: Interactions,
        *,
        n_items: int,
    ) -> FederatedStatistics:
        """Puts a federation's statistics in the shop's rows.

        Args:
            released: None for a shop without a federation.
            row_of: Row of each of the shop's items by id; those that are not in the public
                catalogue have nothing.
            interactions: The shop's users, who are taken out of the pairs where they are in them.
            n_items: Rows of the item table.
        """
        if released is None:
            return NO_FEDERATION
        nothing = FederatedStatistics(
            prior=None if released.prior is None else DenseScores.of(np.zeros(0, np.float32)),
            scale=released.scale,
            reliability=released.reliability,
            releases=released.releases,
            digest=released.digest(),
            released=released,
        )
        return nothing.grown(row_of, n_items=n_items).with_pairs(row_of, interactions)

    def grown(self, row_of: Mapping[str, int], *, n_items: int) -> FederatedStatistics:
        """Gives new items the popularity that they have in all shops.

        Their pairs come with the next refresh, as `with_pairs` takes long.

        Args:
            row_of: Row of each new item by id; others may be among them.
            n_items: Rows of the item table.
        """
        prior = None if self.released is None else self.released.prior
        if self.released is None or prior is None or self.prior is None:
            return self
        known = len(self.prior.values)
        if known >= n_items:
            return self
        values = np.zeros(n_items, dtype=np.float32)
        values[:known] = self.prior.values
        for item_id, row in row_of.items():
            code = self.released.code_of.get(item_id)
            if row >= known and code is not None:
                values[row] = prior[code]
        return replace(self, prior=DenseScores.of(values))

    def lacks_pairs(self, row_of: Mapping[str, int]) -> bool:
        """Says whether the shop has items of the head whose pairs are not placed yet."""
        if self.released is None or self.released.pair_release is None:
            return False
        ids = self.released.item_ids
        rows = {row_of.get(ids[code], -1) for code in self.released.pair_release.head.tolist()} - {
            -1
        }
        placed = () if self.gram is None else self.gram.head.tolist()
        return len(rows) > 1 and not rows <= set(placed)

    def with_pairs(
        self, row_of: Mapping[str, int], interactions: Interactions
    ) -> FederatedStatistics:
        """Places the pairs of all items that the shop has now; arguments as for `of`."""
        if self.released is None:
            return self
        ids = self.released.item_ids
        rows = np.array([row_of.get(item_id, -1) for item_id in ids], dtype=np.int64)
        gram = _other_shops_gram(self.released, rows, interactions)
        co_purchase = None if gram is None else CoPurchaseVectors.of(gram)
        return replace(self, gram=gram, co_purchase=co_purchase)

    @property
    def own_contribution_source(self) -> str | None:
        """Which contribution of its own the shop subtracts from the pairs, None for none."""
        if self.gram is None or self.released is None or not self.released.includes_own:
            return None
        return CURRENT if self.released.own_contribution is None else RECORDED


NO_FEDERATION = FederatedStatistics()
"""A shop without a federation."""


def _other_shops_gram(
    released: ReleasedStatistics, rows: Rows, interactions: Interactions
) -> PairGram | None:
    """Takes the shop's own users out of the pairs, and keeps those of items that it has."""
    release = released.pair_release
    if release is None or (rows[release.head] >= 0).sum() < 2:
        return None
    own: OwnPairSums | Events | None = None
    if released.includes_own:
        own = released.own_contribution
        if own is None:
            own = _events_on_catalogue(interactions, rows)
    return PairGram.of_others(release, own, rows=rows)


def _events_on_catalogue(interactions: Interactions, rows: Rows) -> Events:
    """Returns the shop's events with the public catalogue's codes, of items that are in it."""
    has = np.flatnonzero(rows >= 0)
    code = np.full(max(int(interactions.columns.item.max(initial=0)), int(rows.max())) + 1, -1)
    code[rows[has]] = has
    item = code[interactions.columns.item]
    in_catalogue = item >= 0
    return Events.build(
        user=interactions.user_of_event[in_catalogue],
        item=item[in_catalogue],
        time=np.zeros(int(in_catalogue.sum())),
    )


def fit_pairs(
    history: History, federated: FederatedStatistics, *, time_unit: str
) -> FederatedEASE | None:
    """Fits EASE on all events together with the pairs of other shops' users; None without these."""
    if federated.gram is None:
        return None
    return federated_ease(federated.gram, time_unit).fit(history)
