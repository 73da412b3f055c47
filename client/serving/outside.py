"""What the federation knows of other shops' users, by row of the shop's own items."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from client.own_pairs import OwnPairs
from client.recommenders.pairs_ease import PairGram
from client.serving.histories import Histories
from client.serving.neighbours import Neighbours, gram_of, popular_items, solved
from client.serving.signal_kinds import Fixed, Sparse
from shared.interactions.events import Events
from shared.releases.pair_release import PairRelease

WEIGHT = {"days": 0.2, "order": 1.0}
"""How much a user of another shop counts against one of this shop in EASE, by unit of time; the
defaults of `client.recommenders.tuning.pairs_grid`."""

AS_GIVEN, OF_TODAY = "as given", "of today"
"""What the shop takes out of the pairs: what it put in, or, where that was not kept, what its users
have done up to now, with events that were never in it."""

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Released:
    """Statistics of a federation as they were released, by code of its public catalogue.

    Attributes:
        item_ids: By code.
        releases: Number by kind.
        scale: Factor on similarities, on which the prior is measured.
        reliability: Share of signal in what was released, in [0, 1].
        prior: Log popularity, mean 0, `(n_items,)`; None where no counts were released.
        pairs: Noisy pair sums of all shops together; None where none were released.
        own_pairs: Whether this shop's users are among them.
        own: Their part, as it was when the shop gave it; None where it was not kept.
    """

    item_ids: Sequence[str]
    releases: Mapping[str, int]
    scale: float
    reliability: float
    prior: Floats | None
    pairs: PairRelease | None
    own_pairs: bool
    own: OwnPairs | None = None

    @cached_property
    def code_of(self) -> Mapping[str, int]:
        """Code of each item of the public catalogue by id."""
        return {item_id: code for code, item_id in enumerate(self.item_ids)}

    def digest(self) -> str:
        """SHA-256 of all that fusion weights depend on."""
        state = hashlib.sha256(f"{self.scale}\x1f{self.reliability}\x1f{self.own_pairs}".encode())
        pairs = () if self.pairs is None else (self.pairs.head, self.pairs.noisy)
        own = () if self.own is None else (self.own.sums, self.own.sizes)
        for array in (self.prior, *pairs, *own):
            if array is not None:
                state.update(np.ascontiguousarray(array).tobytes())
        return state.hexdigest()


@dataclass(frozen=True, eq=False)
class Outside:
    """The statistics on the shop's own items.

    Attributes:
        prior: Log popularity in all shops, 0 (the mean) for items that the federation does not
            know, `(n_items,)`; None for none.
        gram: Pairs of the other shops' users, by row of the item table; None for none.
        scale: As in `Released`.
        reliability: As in `Released`; a half where nothing tells.
        releases: As in `Released`.
        digest: As in `Released`, "" for nothing.
        released: What all this was made of; None for nothing.
    """

    prior: Fixed | None = None
    gram: PairGram | None = None
    scale: float = 1.0
    reliability: float = 0.5
    releases: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""
    released: Released | None = None

    @staticmethod
    def of(
        released: Released | None, row_of: Mapping[str, int], histories: Histories, *, n_items: int
    ) -> Outside:
        """Puts a federation's statistics in the shop's rows.

        Args:
            released: None for a shop without a federation.
            row_of: Row of each of the shop's items by id; those that are not in the public
                catalogue have nothing.
            histories: The shop's users, who are taken out of the pairs where they are in them.
            n_items: Rows of the item table.
        """
        if released is None:
            return NOTHING
        nothing = Outside(
            prior=None if released.prior is None else Fixed.of(np.zeros(0, np.float32)),
            scale=released.scale,
            reliability=released.reliability,
            releases=released.releases,
            digest=released.digest(),
            released=released,
        )
        return nothing.grown(row_of, n_items=n_items).with_pairs(row_of, histories)

    def grown(self, row_of: Mapping[str, int], *, n_items: int) -> Outside:
        """Gives new items the popularity that they have in all shops, at once.

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
        return replace(self, prior=Fixed.of(values))

    def lacks_pairs(self, row_of: Mapping[str, int]) -> bool:
        """Says whether the shop has items of the head whose pairs are not placed yet."""
        if self.released is None or self.released.pairs is None:
            return False
        ids = self.released.item_ids
        rows = {row_of.get(ids[code], -1) for code in self.released.pairs.head.tolist()} - {-1}
        placed = () if self.gram is None else self.gram.head.tolist()
        return len(rows) > 1 and not rows <= set(placed)

    def with_pairs(self, row_of: Mapping[str, int], histories: Histories) -> Outside:
        """Places the pairs of all items that the shop has now; arguments as for `of`."""
        if self.released is None:
            return self
        ids = self.released.item_ids
        rows = np.array([row_of.get(item_id, -1) for item_id in ids], dtype=np.int64)
        return replace(self, gram=_gram(self.released, rows, histories))

    @property
    def own_part(self) -> str | None:
        """Which part of its own the shop takes out of the pairs: that which it gave, or another."""
        if self.gram is None or self.released is None or not self.released.own_pairs:
            return None
        return OF_TODAY if self.released.own is None else AS_GIVEN


NOTHING = Outside()
"""A shop without a federation."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """EASE on the shop's own users and the pairs of others.

    Attributes:
        near: What an item of the context speaks for.
        known: Items that it knows, ascending.
    """

    near: Neighbours = field(default_factory=Neighbours.none)
    known: Rows = field(default_factory=lambda: np.zeros(0, np.int64))

    def add_up(self, items: npt.NDArray[np.int32], values: Floats) -> Sparse:
        """Scores items as `client.recommenders.pairs_ease.PairsEASE` does, less a constant.

        Items that it does not know have the mean of those that it knows, here 0, so that none
        falls for being new.
        """
        if not len(self.known):
            return Sparse(self.known, np.zeros(0, np.float32))
        found = self.near.add_up(items, values)
        scores = np.zeros(len(self.known), dtype=np.float32)
        scores[np.searchsorted(self.known, found.rows)] = found.values
        return Sparse(self.known, scores - scores.mean())


def pairs_ease(rows: sp.csr_array, outside: Outside, *, l2: float, unit: str) -> Pairs:
    """Solves EASE for `X'X + weight G`; see `client.recommenders.pairs_ease`.

    Args:
        rows: The shop's users over items, `(n_users, n_items)`.
        outside: Holds `G`.
        l2: Ridge penalty.
        unit: "days" or "order".
    """
    gram = outside.gram
    if gram is None:
        return Pairs()
    seen = gram.head[gram.matrix.any(axis=1)]
    head = popular_items(rows, also=seen)
    matrix = gram_of(rows, head)
    here = np.isin(gram.head, head)
    place = np.searchsorted(head, gram.head[here])
    matrix[np.ix_(place, place)] += np.float32(WEIGHT[unit]) * gram.matrix[np.ix_(here, here)]
    return Pairs(solved(matrix, head, l2=l2, n_items=rows.shape[1]), head)


def _gram(released: Released, rows: Rows, histories: Histories) -> PairGram | None:
    """Takes the shop's own users out of the pairs, and keeps those of items that it has."""
    release = released.pairs
    if release is None or (rows[release.head] >= 0).sum() < 2:
        return None
    own: OwnPairs | Events | None = None
    if released.own_pairs:
        own = _on_the_catalogue(histories, rows) if released.own is None else released.own
    return PairGram.of_others(release, own, rows=rows)


def _on_the_catalogue(histories: Histories, rows: Rows) -> Events:
    """Returns the shop's events with the public catalogue's codes, of items that are in it."""
    has = np.flatnonzero(rows >= 0)
    code = np.full(max(int(histories.columns.item.max(initial=0)), int(rows.max())) + 1, -1)
    code[rows[has]] = has
    item = code[histories.columns.item]
    kept = item >= 0
    return Events.build(
        user=histories.user_of_event[kept], item=item[kept], time=np.zeros(int(kept.sum()))
    )
